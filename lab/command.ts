import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { CloudError } from '../protocol/errors.ts';

export interface CommandOptions {
  readonly timeoutSeconds: number;
  /** Written to standard input, which is closed afterwards. */
  readonly input?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** Exit codes that are an answer, not a failure; 0 always is. */
  readonly acceptedCodes?: readonly number[];
  readonly uid?: number;
  readonly gid?: number;
  /** Output goes to the end of this file instead of into the result; for programs that leave a child behind, which would keep a pipe open. */
  readonly outputFile?: string;
}

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const OUTPUT_BYTES_MAX = 16 * 1024 * 1024;

/** Nothing of the caller's environment is passed on: what the lab starts must not depend on who started it. */
export const plainEnvironment = (): Record<string, string> => ({
  PATH: [...new Set(['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin', dirname(process.execPath)])].join(':'),
  LANG: 'C.UTF-8',
  HOME: '/root',
});

/** Runs a program to its end, never through a shell. A failure is a CloudError that names the program and its last words. */
export const command = (file: string, args: readonly string[], options: CommandOptions): Promise<CommandResult> =>
  new Promise((resolve, reject) => {
    const outputFd = options.outputFile === undefined ? null : openSync(options.outputFile, 'a', 0o640);
    const child = spawn(file, args, {
      cwd: '/',
      env: { ...plainEnvironment(), ...options.environment },
      stdio: ['pipe', outputFd ?? 'pipe', outputFd ?? 'pipe'],
      ...(options.uid === undefined ? {} : { uid: options.uid }),
      ...(options.gid === undefined ? {} : { gid: options.gid }),
    });
    if (outputFd !== null) closeSync(outputFd);
    const output = { stdout: '', stderr: '' };
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, options.timeoutSeconds * 1000);
    for (const name of ['stdout', 'stderr'] as const) {
      child[name]?.setEncoding('utf8');
      child[name]?.on('data', (chunk: string) => {
        if (output[name].length < OUTPUT_BYTES_MAX) output[name] += chunk;
      });
    }
    // A program that does not read its input closes the pipe early; its exit code tells whether that was a failure.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(options.input ?? '');
    child.on('error', (cause) => {
      clearTimeout(timer);
      reject(new CloudError('Internal', `${file} could not be started`, { cause, args }));
    });
    child.on('close', (exitCode) => {
      clearTimeout(timer);
      const code = exitCode ?? -1;
      if (code === 0 || (!timedOut && options.acceptedCodes?.includes(code))) return resolve({ code, ...output });
      const lastWords = (output.stderr.trim() || output.stdout.trim()).split('\n').slice(-3).join('; ');
      const reason = timedOut ? `did not end within ${options.timeoutSeconds} s` : `failed with code ${code}`;
      reject(
        new CloudError(timedOut ? 'Timeout' : 'Internal', `${file} ${reason}${lastWords && `: ${lastWords}`}`, { args, code, ...output }),
      );
    });
  });
