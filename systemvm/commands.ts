/** Runs one program to its end, without a shell. */
import { spawn } from 'node:child_process';
import { CloudError } from '../protocol/errors.ts';

const OUTPUT_BYTES_MAX = 16 * 1024 * 1024;

export interface CommandOptions {
  readonly input?: string;
  readonly timeoutSeconds?: number;
  readonly environment?: Readonly<Record<string, string>>;
}

/** What the program printed on its standard output. Throws with the end of its error output when it fails. */
export function runCommand(command: string, commandArguments: readonly string[], options: CommandOptions = {}): Promise<string> {
  const { input, timeoutSeconds = 30, environment = {} } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(command, [...commandArguments], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', ...environment },
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutSeconds * 1000);
    const output: Buffer[] = [];
    let outputBytes = 0;
    let complaint = '';
    child.stdout.on('data', (chunk: Buffer) => {
      outputBytes += chunk.length;
      if (outputBytes > OUTPUT_BYTES_MAX) child.kill('SIGKILL');
      else output.push(chunk);
    });
    child.stderr.on('data', (chunk: Buffer) => {
      complaint = `${complaint}${chunk.toString('utf8')}`.slice(-2000);
    });
    // A program that ends before it has read everything says so by its exit status.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input ?? '');
    child.on('error', (cause) => {
      clearTimeout(timer);
      reject(new CloudError('Internal', `${command} could not be run`, { cause }));
    });
    child.on('close', (exitCode, signal) => {
      clearTimeout(timer);
      if (exitCode === 0) resolve(Buffer.concat(output).toString('utf8'));
      else
        reject(
          new CloudError('Internal', `${command} failed: ${complaint.trim().slice(-300) || signal || `exit status ${exitCode}`}`, {
            command,
            commandArguments,
            exitCode,
            signal,
            complaint,
          }),
        );
    });
  });
}
