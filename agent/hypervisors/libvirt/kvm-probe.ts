/**
 * Whether this host has hardware virtualization that works. The device file alone proves nothing: it may belong to a kernel that can run
 * only guests made for it. So a boot sector (`kvm-probe.S`) is really booted, and the answer is kept until the next boot.
 */
import { chmod, chown, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { s } from '../../../protocol/schema.ts';
import { stateFile } from '../../files.ts';
import { attempt, type Outcome } from '../../processes.ts';

export interface Accelerator {
  readonly accelerator: 'kvm' | 'qemu';
  readonly reason: string;
}

const DEVICE = '/dev/kvm';
/** Where hardware virtualization works, the sector is through in a fraction of a second. */
const PROBE_SECONDS = 5;
const CODE =
  '+jHAjtiOwI7QvAB8sE7m6fxmMcC/ABC5AAxm86tmxwYAEAMgAABmxwYAIAMwAABmxwYAMIMAAABmuAAQAAAPItgPIOBmg8ggDyLgZrmAAADADzJmDQABAAAPMGYPARYYfQ8gwGYNAQAA' +
  'gA8iwGbqdXwAAAgAZrgQAI7YjsCO0LBl5ukxwL8AQAAAuQAEAADzq7jffAAAv2BAAADoLgAAAL/gQAAA6CQAAAAPARwlHn0AADHAD6IPC7sAAABAigOwc+bpsArm6bAg5vT06/1miQfH' +
  'RwIIAACOZsdHBgAAw0iDfCQICHQMSIPECLBo5umwb+sCsHDm6UiDBCQCSM9mkAAAAAAAAAAAAAAAAACaIAAAAAAAAJIAABcAAH0AAP8DAEA=';
const WORD = 'Nephos';
/** isa-debug-exit turns the 0x20 that the sector writes into this. */
const EXIT_CODE = 0x41;

export function probeSector(): Buffer {
  const sector = Buffer.alloc(512);
  Buffer.from(CODE, 'base64').copy(sector);
  sector.writeUInt16LE(0xaa55, 510);
  return sector;
}

/** Boots the sector with an accelerator, as the machines here would use it. */
export async function bootProbe(accelerator: 'kvm' | 'tcg', timeoutSeconds: number): Promise<Outcome & { booted: boolean }> {
  const room = await mkdtemp(join(tmpdir(), 'nephos-probe-'));
  try {
    const image = join(room, 'sector');
    await writeFile(image, probeSector());
    const outcome = await attempt(
      'qemu-system-x86_64',
      [
        ...['-machine', `pc,accel=${accelerator}`, '-cpu', accelerator === 'kvm' ? 'host' : 'qemu64', '-m', '32'],
        ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-boot', 'a'],
        ...['-drive', `file=${image},format=raw,if=floppy,readonly=on`],
        ...['-debugcon', 'stdio', '-device', 'isa-debug-exit,iobase=0xf4,iosize=1'],
      ],
      { timeoutSeconds },
    );
    return { ...outcome, booted: outcome.code === EXIT_CODE && outcome.stdout.includes(WORD) };
  } finally {
    await rm(room, { recursive: true, force: true });
  }
}

async function probe(): Promise<Accelerator> {
  if (!(await stat(DEVICE).catch(() => null))) return { accelerator: 'qemu', reason: `this host has no ${DEVICE}` };
  let outcome = await bootProbe('kvm', PROBE_SECONDS);
  // A busy moment must not decide over everything until the next boot.
  if (!outcome.booted && outcome.late) outcome = await bootProbe('kvm', PROBE_SECONDS);
  if (outcome.booted) return { accelerator: 'kvm', reason: '' };
  if (outcome.late) return { accelerator: 'qemu', reason: `nothing boots through ${DEVICE} within ${PROBE_SECONDS} s` };
  const said =
    outcome.stderr
      .replace(/^.*?: /, '')
      .trim()
      .split('\n')
      .at(0) ?? '';
  return { accelerator: 'qemu', reason: `QEMU fails with ${DEVICE}: ${said}`.slice(0, 500) };
}

/**
 * Gives the device its usual owner and mode. Where root may open it and QEMU's account may not, libvirt asks QEMU for its abilities again
 * before every start, which takes minutes.
 */
export async function fixKvmDevice(device = DEVICE): Promise<'fixed' | 'right' | 'absent'> {
  const found = await stat(device).catch(() => null);
  const group = /^kvm:[^:]*:(\d+):/m.exec(await readFile('/etc/group', 'utf8'))?.[1];
  if (!found || group === undefined) return 'absent';
  const open = (found.mode & 0o006) === 0o006 || (found.gid === Number(group) && (found.mode & 0o060) === 0o060);
  if (open) return 'right';
  await chown(device, found.uid, Number(group));
  await chmod(device, 0o660);
  return 'fixed';
}

const Kept = s.object({ bootId: s.string({ max: 64 }), accelerator: s.oneOf('kvm', 'qemu'), reason: s.string({ max: 500 }) });

/** The answer of this boot, from the file or by a probe. */
export async function findAccelerator(stateDirectory: string): Promise<Accelerator> {
  const kept = stateFile(join(stateDirectory, 'accelerator.json'), Kept);
  const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  const earlier = await kept.read();
  if (earlier?.bootId === bootId) return { accelerator: earlier.accelerator, reason: earlier.reason };
  const found = await probe();
  await kept.write({ bootId, ...found });
  return found;
}
