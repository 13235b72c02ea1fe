/** Boots a template's disk in QEMU without libvirt, to see what comes out of its serial port. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { CloudError } from '../protocol/errors.ts';
import { run } from './run.ts';

export interface QemuOptions {
  /** Backing file; the machine writes to a throw-away overlay. */
  readonly disk: string;
  readonly memoryMib?: number;
  /** Left out for a disk that boots by itself. */
  readonly direct?: { readonly kernel: string; readonly initrd: string; readonly words: readonly string[] };
  /** Second virtio disk, read-only. */
  readonly iso?: string;
  /** QEMU arguments for further devices. */
  readonly devices?: readonly string[];
  /** Network namespace that QEMU runs in. */
  readonly namespace?: string;
}

export interface SerialLine {
  readonly text: string;
  /** Since QEMU was started. */
  readonly atSeconds: number;
  /** What QEMU had used of the CPU by then, which tells more than the clock where the host is busy with other things. */
  readonly cpuSeconds: number;
}

const TICKS_PER_SECOND = 100;

/** User and system time of a process, as the kernel counts it. */
function cpuSecondsOf(pid: number | undefined): number {
  try {
    const [user, system] = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /, '')
      .split(' ')
      .slice(11, 13)
      .map(Number);
    return ((user ?? 0) + (system ?? 0)) / TICKS_PER_SECOND;
  } catch {
    return 0;
  }
}

export interface QemuMachine {
  readonly lines: readonly SerialLine[];
  /** The first line, already seen or still to come, that matches. */
  readonly waitFor: (pattern: RegExp, timeoutSeconds: number) => Promise<SerialLine>;
  readonly type: (text: string) => void;
  readonly qmp: (command: string, commandArguments?: Readonly<Record<string, unknown>>) => Promise<void>;
  /** Presses the power button; how long it took until QEMU ended. */
  readonly powerDown: (timeoutSeconds: number) => Promise<number>;
  readonly waitForExit: (timeoutSeconds: number) => Promise<void>;
  /** Ends QEMU, however it is, and removes what it left. */
  readonly end: () => Promise<void>;
}

const after = async <T>(work: Promise<T>, timeoutSeconds: number, complaint: () => CloudError): Promise<T> => {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(complaint()), timeoutSeconds * 1000);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
};

async function sendQmp(socketPath: string, command: string, commandArguments: Readonly<Record<string, unknown>>): Promise<void> {
  const socket = connect(socketPath);
  try {
    await after(once(socket, 'connect'), 5, () => new CloudError('Timeout', 'QEMU does not answer on its monitor'));
    const replies = createInterface({ input: socket })[Symbol.asyncIterator]();
    const ask = async (text: string): Promise<void> => {
      socket.write(`${text}\n`);
      for (;;) {
        const { value, done } = await after(replies.next(), 10, () => new CloudError('Timeout', `QEMU does not answer to ${command}`));
        if (done || value.startsWith('{"error"')) throw new CloudError('Internal', `QEMU refused ${command}`, { reply: value });
        if (value.startsWith('{"return"')) return;
      }
    };
    await ask(JSON.stringify({ execute: 'qmp_capabilities' }));
    await ask(JSON.stringify({ execute: command, arguments: commandArguments }));
  } finally {
    socket.destroy();
  }
}

/** Starts an emulated machine; its host needs no hardware virtualization. */
export async function startQemu({ disk, memoryMib = 512, direct, iso, devices = [], namespace }: QemuOptions): Promise<QemuMachine> {
  const folder = await mkdtemp(join(tmpdir(), 'nephos-qemu-'));
  const overlay = join(folder, 'overlay.qcow2');
  const monitor = join(folder, 'qmp');
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', disk, '-F', 'qcow2', '--', overlay], { timeoutSeconds: 30 });
  const startedAt = performance.now();
  const [command, ...entering] = [...(namespace === undefined ? [] : ['ip', 'netns', 'exec', namespace]), 'qemu-system-x86_64'];
  const child = spawn(
    command ?? '',
    [
      ...entering,
      ...['-machine', 'pc,accel=tcg', '-cpu', 'qemu64', '-smp', '1', '-m', String(memoryMib)],
      ...['-nodefaults', '-no-reboot', '-display', 'none', '-serial', 'stdio', '-qmp', `unix:${monitor},server=on,wait=off`],
      ...(direct ? ['-kernel', direct.kernel, '-initrd', direct.initrd, '-append', direct.words.join(' ')] : []),
      ...['-drive', `if=virtio,format=qcow2,cache=unsafe,file=${overlay}`],
      ...(iso === undefined ? [] : ['-drive', `if=virtio,format=raw,readonly=on,file=${iso}`]),
      ...devices,
    ],
    { stdio: ['pipe', 'pipe', 'pipe'] },
  );
  const lines: SerialLine[] = [];
  const waiting = new Set<(line: SerialLine) => void>();
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => {
    complaint = `${complaint}${chunk.toString('utf8')}`.slice(-1000);
  });
  child.stdin.on('error', () => {});
  createInterface({ input: child.stdout }).on('line', (text) => {
    const line = { text, atSeconds: (performance.now() - startedAt) / 1000, cpuSeconds: cpuSecondsOf(child.pid) };
    lines.push(line);
    for (const look of [...waiting]) look(line);
  });
  const exited = new Promise<void>((resolve) => {
    child.on('error', () => resolve());
    child.on('close', () => resolve());
  });

  const lastLines = (): string => [...lines.slice(-5).map(({ text }) => text), complaint].join(' | ').trim();
  const waitForExit = (timeoutSeconds: number): Promise<void> =>
    after(exited, timeoutSeconds, () => new CloudError('Timeout', `the machine did not stop within ${timeoutSeconds} s: ${lastLines()}`));
  return {
    lines,
    waitFor: async (pattern, timeoutSeconds) => {
      const known = lines.find(({ text }) => pattern.test(text));
      if (known) return known;
      let look: ((line: SerialLine) => void) | undefined;
      const seen = new Promise<SerialLine>((resolve, reject) => {
        look = (line) => pattern.test(line.text) && resolve(line);
        waiting.add(look);
        exited.then(() => reject(new CloudError('Internal', `the machine ended before it wrote ${pattern}: ${lastLines()}`)));
      });
      try {
        return await after(
          seen,
          timeoutSeconds,
          () => new CloudError('Timeout', `the machine did not write ${pattern} within ${timeoutSeconds} s: ${lastLines()}`),
        );
      } finally {
        if (look) waiting.delete(look);
      }
    },
    type: (text) => child.stdin.write(text),
    qmp: (command, commandArguments = {}) => sendQmp(monitor, command, commandArguments),
    powerDown: async (timeoutSeconds) => {
      const pressedAt = performance.now();
      // A press before the guest has opened its button is lost, as with any machine.
      const press = (): Promise<void> => sendQmp(monitor, 'system_powerdown', {}).catch(() => {});
      const again = setInterval(press, 2000);
      try {
        await press();
        await waitForExit(timeoutSeconds);
      } finally {
        clearInterval(again);
      }
      return (performance.now() - pressedAt) / 1000;
    },
    waitForExit,
    end: async () => {
      child.kill('SIGKILL');
      await exited;
      await rm(folder, { recursive: true, force: true });
    },
  };
}
