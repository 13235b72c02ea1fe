/** Runs the programs that build templates: argument arrays only, always with an end. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { CloudError } from '../protocol/errors.ts';

export interface RunOptions {
  readonly timeoutSeconds: number;
  readonly environment?: Readonly<Record<string, string>>;
  /** Called with each line of error output, which is where these programs tell how far they are. */
  readonly onLine?: (line: string) => void;
}

const LAST_LINES = 5;

/** The bytes the program printed on its standard output. Throws with its last words when it fails. */
export function runForBytes(program: string, programArguments: readonly string[], options: RunOptions): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, programArguments, {
      cwd: '/',
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8', HOME: '/root', ...options.environment },
      timeout: options.timeoutSeconds * 1000,
    });
    const printed: Buffer[] = [];
    const lastLines: string[] = [];
    child.stdout.on('data', (chunk: Buffer) => printed.push(chunk));
    createInterface({ input: child.stderr }).on('line', (line) => {
      lastLines.push(line);
      if (lastLines.length > LAST_LINES) lastLines.shift();
      options.onLine?.(line);
    });
    child.on('error', (cause) => reject(new CloudError('Internal', `${program} could not be started`, { cause })));
    child.on('close', (code, signal) => {
      if (code === 0) return resolve(Buffer.concat(printed));
      const reason = signal === null ? `code ${code}` : `signal ${signal}`;
      reject(new CloudError('Internal', `${program} ended with ${reason}: ${lastLines.join('; ')}`, { programArguments }));
    });
  });
}

/** As `runForBytes`, as text. */
export const run = async (program: string, programArguments: readonly string[], options: RunOptions): Promise<string> =>
  (await runForBytes(program, programArguments, options)).toString('utf8');
