/**
 * Boots the built templates in QEMU and asserts what they promise. Takes about a minute, so it is not part of the fast tests: end-to-end
 * tests call these functions, and `npx tsx templates/check.ts --var var` prints the figures.
 */
import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { parse, type Schema, s } from '../protocol/schema.ts';
import { buildGuestTemplates, type GuestTemplate } from './guest/catalogue.ts';
import { type QemuMachine, type SerialLine, startQemu } from './qemu.ts';
import { run } from './run.ts';
import { bootParameters, type SystemVmType } from './systemvm/boot.ts';
import { buildSystemVmTemplate, type SystemVmTemplate } from './systemvm/build.ts';
import { buildSystemVmIso } from './systemvm/iso.ts';

const BOOT_TIMEOUT_SECONDS = 90;
const NICS = ['-device', 'virtio-net-pci', '-device', 'virtio-net-pci', '-device', 'virtio-net-pci'];
// Without it the first program that wants random numbers waits a second for the kernel to collect some.
const RANDOMNESS = ['-device', 'virtio-rng-pci'];

export interface BootFigure {
  readonly seconds: number;
  readonly cpuSeconds: number;
}
const figure = ({ atSeconds, cpuSeconds }: SerialLine): BootFigure => ({ seconds: atSeconds, cpuSeconds });

export interface SystemVmFigures {
  readonly diskBytes: number;
  /** Until the first program of the root disk runs: what the kernel and the disk cost by themselves. */
  readonly bareBoot: BootFigure;
  /** Until the first line of the role's program. */
  readonly program: BootFigure;
  readonly powerDownSeconds: number;
  readonly memoryUsedKib: number;
}

interface BootedSystemVm {
  readonly template: SystemVmTemplate;
  readonly iso: string;
  readonly words: readonly string[];
}

const bootSystemVm = ({ template, iso, words }: BootedSystemVm): Promise<QemuMachine> =>
  startQemu({
    disk: template.qcow2,
    iso,
    direct: { kernel: template.kernel, initrd: template.initrd, words: [...bootParameters('emulated'), ...words] },
    devices: [...NICS, ...RANDOMNESS],
  });

async function whileRunning<T>(starting: Promise<QemuMachine>, work: (machine: QemuMachine) => Promise<T>): Promise<T> {
  const machine = await starting;
  try {
    return await work(machine);
  } finally {
    await machine.end();
  }
}

/** What the probe said about `name`. */
const said = async <T>(machine: QemuMachine, name: string, schema: Schema<T>): Promise<T> => {
  const { text } = await machine.waitFor(new RegExp(`PROBE ${name} `), BOOT_TIMEOUT_SECONDS);
  return parse(schema, JSON.parse(text.slice(text.indexOf(name) + name.length + 1)), `what the probe said of ${name}`);
};

const probeIso = async (varDir: string, template: SystemVmTemplate): Promise<string> => {
  const probe = fileURLToPath(new URL('systemvm/probe.mjs', import.meta.url));
  const bundles = { router: probe, 'console-proxy': probe, 'secondary-storage': probe } satisfies Record<SystemVmType, string>;
  return (await buildSystemVmIso({ bundles, template, out: resolve(varDir, 'templates/probe.iso') })).path;
};

const text = s.text({ max: 100_000 });

/** SV-07, SV-08, SV-09, SV-13 and SV-21 as far as the template alone decides them. */
export async function checkSystemVmTemplate(varDir: string): Promise<SystemVmFigures> {
  const template = await buildSystemVmTemplate({ varDir });
  const iso = await probeIso(varDir, template);
  const figures = await whileRunning(bootSystemVm({ template, iso, words: ['nephos.type=router'] }), async (machine) => {
    const bareBoot = figure(await machine.waitFor(/^NEPHOS-STAGE boot /, BOOT_TIMEOUT_SECONDS));
    const program = figure(await machine.waitFor(/PROBE started/, BOOT_TIMEOUT_SECONDS));

    assert.match(await said(machine, 'osRelease', text), /VERSION_CODENAME=trixie/);
    assert.equal(await said(machine, 'listening', text), '', 'nothing listens before the role has started it');
    assert.deepEqual(await said(machine, 'links', s.list(text)), ['eth0', 'eth1', 'eth2', 'lo']);
    const environment = await said(machine, 'environment', s.list(text));
    assert.deepEqual(
      environment.filter((name) => /nephos|type|token/i.test(name)),
      [],
      'no boot argument in the environment',
    );
    for (const [user, hash] of await said(machine, 'shadow', s.list(s.list(text)))) {
      assert.match(hash ?? '', /^[!*]+$/, `${user} has no usable password`);
    }
    const modules = await said(machine, 'modules', s.record(text));
    assert.deepEqual(
      Object.entries(modules).filter(([, outcome]) => outcome !== ''),
      [],
      'all modules can be loaded',
    );
    assert.equal(await said(machine, 'wireguardLink', text), '');
    assert.deepEqual(await said(machine, 'buildTools', s.list(text)), []);
    assert.equal(await said(machine, 'snapshot', s.boolean()), true, 'the program was started the quick way');
    const memoryUsedKib = await said(machine, 'memoryUsedKib', s.int());
    assert.equal(await said(machine, 'sshd', text), 'ssh-ed25519 *:3922', 'sshd starts, on 3922, with a key of its own');
    return { bareBoot, program, memoryUsedKib, powerDownSeconds: await machine.powerDown(10) };
  });
  await checkUnknownType(template, iso);
  return { diskBytes: (await stat(template.qcow2)).size, ...figures };
}

/** A type that nobody knows starts nothing, says so, and can still be stopped. */
async function checkUnknownType(template: SystemVmTemplate, iso: string): Promise<void> {
  await whileRunning(bootSystemVm({ template, iso, words: ['nephos.type=elbvm'] }), async (machine) => {
    await machine.waitFor(/^NEPHOS-STAGE unknown-type /, BOOT_TIMEOUT_SECONDS);
    await machine.powerDown(10);
    assert.ok(!machine.lines.some((line) => /STAGE role|PROBE/.test(line.text)), 'no program was started');
  });
}

export interface GuestFigures {
  readonly diskBytes: number;
  readonly ready: BootFigure;
  readonly powerDownSeconds: number;
}

const KEYS: Readonly<Record<string, readonly string[]>> = {
  ' ': ['spc'],
  '-': ['minus'],
  '/': ['slash'],
  '>': ['shift', 'dot'],
  '\n': ['ret'],
};
const keysOf = (character: string): readonly string[] => KEYS[character] ?? [character];

/** Presses the keys of `line` on the machine's keyboard, as a viewer of its screen would. */
export async function pressKeys(machine: QemuMachine, line: string): Promise<void> {
  for (const character of line) {
    const keys = keysOf(character.toLowerCase()).map((data) => ({ type: 'qcode', data }));
    const shift = character >= 'A' && character <= 'Z' ? [{ type: 'qcode', data: 'shift' }] : [];
    await machine.qmp('send-key', { keys: [...shift, ...keys], 'hold-time': 20 });
  }
}

/** The tiny guest boots by itself, has a root shell on its screen and stops by its power button. */
export async function checkTinyGuest(template: GuestTemplate): Promise<GuestFigures> {
  const starting = startQemu({ disk: template.file, memoryMib: template.memoryMib, devices: ['-vga', 'std', ...RANDOMNESS] });
  return whileRunning(starting, async (machine) => {
    const ready = figure(await machine.waitFor(/NEPHOS-GUEST ready /, BOOT_TIMEOUT_SECONDS));
    await pressKeys(machine, 'echo typed on the screen > /dev/ttyS0\n');
    await machine.waitFor(/typed on the screen/, 30);
    const powerDownSeconds = await machine.powerDown(10);
    return { diskBytes: template.sizeBytes, ready, powerDownSeconds };
  });
}

/** The disk is sound, and nothing in it points to a file outside. */
export async function checkDisk(file: string): Promise<void> {
  await run('qemu-img', ['check', '-q', '--', file], { timeoutSeconds: 60 });
  const report = await run('qemu-img', ['info', '--output=json', '--', file], { timeoutSeconds: 30 });
  assert.doesNotMatch(report, /backing-filename|"data-file"/);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { var: { type: 'string', default: 'var' } } });
  const systemVm = await checkSystemVmTemplate(values.var);
  const [tiny] = await buildGuestTemplates({ varDir: values.var, which: ['tiny'] });
  assert.ok(tiny);
  await checkDisk(join(tiny.file));
  process.stdout.write(`${JSON.stringify({ systemVm, tiny: await checkTinyGuest(tiny) }, null, 2)}\n`);
}
