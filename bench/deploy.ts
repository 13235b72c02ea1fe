/**
 * What management itself adds to the deployment of a second machine in a network: the whole time of the job on simulated hosts, which
 * answer at once, database and Redis included. `node --import tsx bench/deploy.ts [deployments]`.
 */
import { startZone } from '../tests/cloud/zone.ts';
import { machine, percentile } from './link-process.ts';

const count = Number(process.argv[2] ?? 20);
const TARGET_MS = 500;
const zone = await startZone();
const { id: networkids } = await zone.network('bench');
await zone.deploy({ networkids, name: 'first' });
const samples: number[] = [];
for (let number = 0; number < count; number += 1) {
  const since = performance.now();
  const vm = await zone.deploy({ networkids, name: `next-${number}` }, { pollMs: 10 });
  samples.push(performance.now() - since);
  await zone.run('destroyVirtualMachine', { id: vm.id, expunge: true });
}
const residentMib = Math.round(process.memoryUsage.rss() / 1048576);
await zone.cloud.close();
const p50 = percentile(samples, 0.5);
const report = {
  machine: machine(),
  unit: 'ms',
  p50: Math.round(p50),
  p99: Math.round(percentile(samples, 0.99)),
  target: TARGET_MS,
  samples: samples.map(Math.round),
  residentMibWithAllHostsInProcess: residentMib,
};
console.log(JSON.stringify(report, null, 2));
process.exit(p50 <= TARGET_MS ? 0 : 1);
