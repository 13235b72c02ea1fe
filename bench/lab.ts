/** What the benchmarks on the real lab share: the cloud as `up` leaves it, the figures of its processes, and what was asked of agents. */
import { readFile } from 'node:fs/promises';
import { Client, type Reply } from '../lab/client.ts';
import { adminClient, readDemo } from '../lab/demo.ts';
import { apiUrl, HTTP_PORT, pathsOf, varDirectory } from '../lab/installation.ts';
import { inHost } from '../lab/lab.ts';
import { processOf } from '../lab/processes.ts';
import { CloudError } from '../protocol/errors.ts';

export interface LabCloud {
  readonly admin: Client;
  readonly demo: Client;
  readonly zoneId: string;
  readonly networkId: string;
  readonly vmId: string;
}

/** The cloud that `npm run up` has made and that runs now. */
export async function labCloud(): Promise<LabCloud> {
  const known = await readDemo(varDirectory);
  const { demo, zoneId, networkId, vmId } = known;
  if (!demo || !zoneId || !networkId || !vmId || !(await processOf(pathsOf(varDirectory).managementPid)))
    throw new CloudError('WrongState', 'this benchmark needs the cloud that `npm run up` makes; take it up first');
  return { admin: await adminClient(varDirectory), demo: new Client(apiUrl, demo.keys), zoneId, networkId, vmId };
}

/** Seconds the management server has waited for answers of its agents, by message. */
export async function askedSeconds(): Promise<ReadonlyMap<string, number>> {
  const text = await (await fetch(`http://127.0.0.1:${HTTP_PORT}/metrics`)).text();
  const sums = new Map<string, number>();
  for (const [, message = '', seconds] of text.matchAll(/^nephos_ask_seconds_sum\{message="([^"]+)"[^}]*\} (\S+)$/gm))
    sums.set(message, (sums.get(message) ?? 0) + Number(seconds));
  return sums;
}

/** What a machine has written to its serial port. */
export const serialOf = async ({ hostname, id }: Reply): Promise<string> =>
  (await inHost(hostname, 'cat', [`/var/lib/nephos-agent/serial/${id}.log`], { timeoutSeconds: 20, acceptedCodes: [1] })).stdout;

export interface ProcessMemory {
  readonly residentMib: number;
  readonly peakMib: number;
}
export async function memoryOf(pid: number): Promise<ProcessMemory> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const mib = (name: string): number => Math.round(Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) / 1024);
  return { residentMib: mib('VmRSS'), peakMib: mib('VmHWM') };
}
