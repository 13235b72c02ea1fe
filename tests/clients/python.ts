/** Runs Debian's own Python with Debian's own packages, whatever other Python the machine has in its PATH. */
import { join } from 'node:path';
import { command } from '../../lab/command.ts';
import { CloudError } from '../../protocol/errors.ts';

const PYTHON = '/usr/bin/python3';
const TIMEOUT_SECONDS = 60;

export interface Ended {
  readonly stdout: string;
  readonly stderr: string;
}

/** `-I`: nothing from the environment, the user's own folder or the folder of the script can stand in the way of the package. */
async function run(args: readonly string[], options: { input?: string; environment?: Readonly<Record<string, string>> }): Promise<Ended> {
  return command(PYTHON, ['-I', '-B', ...args], { timeoutSeconds: TIMEOUT_SECONDS, ...options });
}

/** One of the scripts here; what it is given goes through its standard input, where no list of processes shows it. */
// biome-ignore lint/suspicious/noExplicitAny: what a client saw is looked at field by field in tests
export async function script(name: string, args: readonly string[], given: unknown): Promise<any> {
  const { stdout } = await run([join(import.meta.dirname, name), ...args], { input: JSON.stringify(given) });
  return parsed(stdout, name);
}

/** A program that comes as a Python module. */
export const program = (module: string, args: readonly string[], environment: Readonly<Record<string, string>>): Promise<Ended> =>
  run(['-m', module, ...args], { environment });

// biome-ignore lint/suspicious/noExplicitAny: as above
export function parsed(text: string, what: string): any {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new CloudError('Internal', `${what} did not print JSON`, { cause, text });
  }
}
