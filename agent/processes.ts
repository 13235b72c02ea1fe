/** Runs the host's tools: never through a shell, always with a time limit, always in the C locale so that output can be read. */
import { execFile } from 'node:child_process';
import { CloudError } from '../protocol/errors.ts';

export const toolEnvironment = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/root',
  LC_ALL: 'C',
  LANG: 'C',
} as const;

export interface RunOptions {
  /** Written to the tool's standard input, which is closed afterwards. */
  input?: string;
  timeoutSeconds?: number;
  signal?: AbortSignal;
}
export interface Outcome {
  /** Exit code; -1 when the tool could not be started or ended by a signal. */
  code: number;
  /** It took too long and was killed for that. */
  late: boolean;
  stdout: string;
  stderr: string;
}

/** Runs a tool and tells how it went; a failure is an answer here. */
export function attempt(file: string, args: readonly string[], { input, timeoutSeconds = 30, signal }: RunOptions = {}): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = execFile(
      file,
      [...args],
      {
        env: toolEnvironment,
        timeout: timeoutSeconds * 1000,
        killSignal: 'SIGKILL',
        maxBuffer: 64 * 1024 * 1024,
        ...(signal ? { signal } : {}),
      },
      (error, stdout, stderr) => {
        if (!error) return resolve({ code: 0, late: false, stdout, stderr });
        const code = typeof error.code === 'number' ? error.code : -1;
        resolve({ code, late: error.killed === true && !signal?.aborted, stdout, stderr: stderr === '' ? error.message : stderr });
      },
    );
    // A tool that ends without reading its input must not take the agent down with a broken pipe.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input ?? '');
  });
}

/** Runs a tool that must succeed. `doing` completes the sentence «the host could not …». */
export async function run(doing: string, file: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await attempt(file, args, options);
  if (code !== 0) {
    throw new CloudError('ResourceUnavailable', `the host could not ${doing}`, { tool: file, code, stderr: stderr.trim().slice(0, 2000) });
  }
  return stdout;
}
