/**
 * What the processes of the demo cloud hold in memory: the management server and the agents in the system VMs, each read several times
 * while the cloud is as `up` leaves it. `node --import tsx bench/memory.ts [readings] [seconds between]`; needs what `npm run up` has made.
 */
import { setTimeout as wait } from 'node:timers/promises';
import type { Reply } from '../lab/client.ts';
import { pathsOf, varDirectory } from '../lab/installation.ts';
import { processOf } from '../lab/processes.ts';
import { CloudError } from '../protocol/errors.ts';
import { inSystemVm, realCloud } from '../tests/e2e/cloud.ts';
import { labCloud, memoryOf, type ProcessMemory } from './lab.ts';
import { machine } from './link-process.ts';

const readings = Number(process.argv[2] ?? 3);
const pauseSeconds = Number(process.argv[3] ?? 10);
const TARGETS_MIB = { management: 250, agent: 90 } as const;

await labCloud();
// The cloud as it runs is measured, not one that was built and started for it.
process.env['NEPHOS_E2E_AS_IT_RUNS'] = '1';
const cloud = await realCloud();

/** The role's program is the one process of Node there; what it maps and shares counts as its own. */
const LOOK = `for p in /proc/[0-9]*; do case "$(cat $p/comm 2>/dev/null)" in node|MainThread) grep -E '^Vm(RSS|HWM)' $p/status;; esac; done`;
async function agentMemory(vm: Reply): Promise<ProcessMemory> {
  const text = await inSystemVm(cloud, vm, LOOK);
  const largest = (name: string): number =>
    Math.max(...[...text.matchAll(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'gm'))].map(([, kib]) => Math.round(Number(kib) / 1024)));
  const residentMib = largest('VmRSS');
  if (!Number.isFinite(residentMib)) throw new CloudError('NotFound', `${vm.name} runs no agent`, { text });
  return { residentMib, peakMib: largest('VmHWM') };
}

const rows: Record<string, { target: number; readings: ProcessMemory[] }> = {};
const add = (name: string, target: number, reading: ProcessMemory): void => {
  rows[name] ??= { target, readings: [] };
  rows[name].readings.push(reading);
};
for (let reading = 0; reading < readings; reading += 1) {
  if (reading > 0) await wait(pauseSeconds * 1000);
  const running = await processOf(pathsOf(varDirectory).managementPid);
  if (!running) throw new CloudError('WrongState', 'the management server does not run');
  add('management server', TARGETS_MIB.management, await memoryOf(running.pid));
  const appliances = [...(await cloud.admin.list('listSystemVms')), ...(await cloud.admin.list('listRouters', { listall: true }))];
  for (const vm of appliances.filter(({ state }) => state === 'Running'))
    add(`${vm.name} (${vm.systemvmtype ?? 'router'})`, TARGETS_MIB.agent, await agentMemory(vm));
}
const isWithin = Object.values(rows).every(({ target, readings: all }) => all.every(({ residentMib }) => residentMib <= target));
console.log(JSON.stringify({ machine: machine(), unit: 'MiB resident', rows }, null, 2));
process.exit(isWithin ? 0 : 1);
