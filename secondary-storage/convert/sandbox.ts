/**
 * Runs a program on a stranger's file: no network, no other file than those named, no privileges, and not more processor time, memory
 * or disk than it was given.
 */
import { spawn } from 'node:child_process';
import { CloudError } from '../../protocol/errors.ts';

export interface SandboxOptions {
  /** Path inside to path outside. */
  readonly readable: Readonly<Record<string, string>>;
  readonly writable: Readonly<Record<string, string>>;
  readonly cpuSeconds: number;
  readonly memoryBytes: number;
  /** The largest file it may write. */
  readonly fileBytes: number;
  readonly timeoutSeconds: number;
  readonly signal: AbortSignal;
}
export interface SandboxOutcome {
  readonly exitCode: number | null;
  readonly killedBy: NodeJS.Signals | null;
  readonly output: string;
  /** The end of what it complained about. Names inside it are those of the sandbox. */
  readonly complaint: string;
}

const OUTPUT_CHARACTERS_MAX = 64 * 1024;

function sandboxArguments({ readable, writable }: SandboxOptions): string[] {
  return [
    // Own processes, network, host name, message queues and users: nobody, who owns nothing outside.
    ...['--unshare-all', '--uid', '65534', '--gid', '65534', '--cap-drop', 'ALL'],
    ...['--die-with-parent', '--new-session', '--clearenv', '--setenv', 'LC_ALL', 'C', '--setenv', 'PATH', '/usr/bin'],
    // Dozens of threads, each with a stack and a heap of the usual size, would pass any limit of address space without using it.
    ...['--setenv', 'MALLOC_ARENA_MAX', '2'],
    ...['--ro-bind', '/usr', '/usr', '--symlink', 'usr/lib', '/lib', '--symlink', 'usr/lib64', '/lib64', '--dev', '/dev'],
    ...Object.entries(readable).flatMap(([inside, outside]) => ['--ro-bind', outside, inside]),
    ...Object.entries(writable).flatMap(([inside, outside]) => ['--bind', outside, inside]),
    ...['--chdir', '/'],
  ];
}

export function runSandboxed(program: string, programArguments: readonly string[], options: SandboxOptions): Promise<SandboxOutcome> {
  const { cpuSeconds, memoryBytes, fileBytes, timeoutSeconds, signal } = options;
  const limits = [`--cpu=${cpuSeconds}`, `--as=${memoryBytes}`, `--fsize=${fileBytes}`, '--nofile=256', '--core=0', '--stack=1048576'];
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const child = spawn('prlimit', [...limits, '--', 'bwrap', ...sandboxArguments(options), '--', program, ...programArguments], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
      timeout: timeoutSeconds * 1000,
      killSignal: 'SIGKILL',
    });
    let output = '';
    let complaint = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output = `${output}${text}`.slice(0, OUTPUT_CHARACTERS_MAX);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaint = `${complaint}${text}`.slice(-2000);
    });
    const kill = (): void => void child.kill('SIGKILL');
    signal.addEventListener('abort', kill, { once: true });
    child.on('error', (cause) => {
      signal.removeEventListener('abort', kill);
      reject(new CloudError('Unavailable', 'the sandbox for images cannot be started', { cause }));
    });
    child.on('close', (exitCode, killedBy) => {
      signal.removeEventListener('abort', kill);
      if (signal.aborted) return reject(signal.reason);
      // A sandbox that cannot be set up is our own trouble and says nothing about the image.
      if (/^bwrap: /m.test(complaint))
        return reject(new CloudError('Unavailable', 'the sandbox for images cannot be started', { complaint }));
      resolve({ exitCode, killedBy, output, complaint });
    });
  });
}
