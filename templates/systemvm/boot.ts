/** How a machine of the system VM template is booted: the contract between the template and whoever starts it. */

export const systemVmIsoLabel = 'NEPHOS_SYSVM';
export const systemVmRootLabel = 'nephos-sysvm';

export const systemVmTypes = ['console-proxy', 'secondary-storage', 'router'] as const;
export type SystemVmType = (typeof systemVmTypes)[number];

/** `emulated` is QEMU without hardware virtualization. */
export type CpuKind = 'kvm' | 'emulated';

const common = [
  // Stages and the role's log go to the serial port; the kernel's own messages would cost an exit per character.
  'console=ttyS0',
  'quiet',
  // A kernel in trouble ends, so that the machine is seen to be down and is replaced.
  'panic=1',
  // Half a second of testing ciphers on an emulated CPU.
  'cryptomgr.notests',
  'nowatchdog',
];

const onlyEmulated = [
  // An emulated CPU does not speculate: guarding against that costs a tenth of its time and protects nothing.
  'mitigations=off',
  'tsc=reliable',
  'no_timer_check',
];

/** The words of the kernel command line that do not depend on the machine; put the boot arguments after them. */
export const bootParameters = (cpu: CpuKind): readonly string[] => (cpu === 'kvm' ? common : [...common, ...onlyEmulated]);

/** The kernel cuts the line off beyond this length without a word. */
export const COMMAND_LINE_BYTES_MAX = 2047;

/** The kernel panics when there are more words of the form `key=value` that are not its own; a dot in the key takes a word out of the count. */
export const UNKNOWN_WORDS_MAX = 30;
