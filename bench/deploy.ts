/**
 * What management itself adds to the deployment of a second machine in a network. Without `--lab`: the whole time of the job on simulated
 * hosts, which answer at once, database and Redis included. With `--lab`: on the real lab, the time of the job without what hosts need for
 * machines (libvirt) and volumes and images; needs what `npm run up` has made.
 * `node --import tsx bench/deploy.ts [deployments] [--lab]`.
 */
import { setTimeout } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { askedSeconds, labCloud } from './lab.ts';
import { machine, percentile } from './link-process.ts';

const SETTLE_MS = 6000;
const TARGET_MS = 500;
const { values, positionals } = parseArgs({ options: { lab: { type: 'boolean', default: false } }, allowPositionals: true });
const count = Number(positionals[0] ?? (values.lab ? 5 : 20));

interface Sample {
  /** From the call to the end of the job, as the client sees it. */
  readonly wholeMs: number;
  /** What agents needed, by message. */
  readonly asked: Readonly<Record<string, number>>;
  readonly overheadMs: number;
}

async function simulated(): Promise<Sample[]> {
  const { startZone } = await import('../tests/cloud/zone.ts');
  const zone = await startZone();
  const { id: networkids } = await zone.network('bench');
  await zone.deploy({ networkids, name: 'first' });
  const samples: Sample[] = [];
  for (let number = 0; number < count; number += 1) {
    const since = performance.now();
    const vm = await zone.deploy({ networkids, name: `next-${number}` }, { pollMs: 10 });
    const wholeMs = performance.now() - since;
    samples.push({ wholeMs, asked: {}, overheadMs: wholeMs });
    await zone.run('destroyVirtualMachine', { id: vm.id, expunge: true });
  }
  await zone.cloud.close();
  return samples;
}

/** Libvirt and image work of the hosts; applying networks and the router's configuration is management's own account. */
const HOST_WORK = /^(machine\.start|volume\.create|pool\.ensureImage)$/;

async function onLab(): Promise<Sample[]> {
  const { admin, demo, zoneId, networkId, vmId } = await labCloud();
  const [first] = await demo.list('listVirtualMachines', { id: vmId });
  const samples: Sample[] = [];
  for (let number = 0; number < count; number += 1) {
    const before = await askedSeconds();
    const since = performance.now();
    const { virtualmachine: vm } = await demo.run(
      'deployVirtualMachine',
      {
        zoneid: zoneId,
        templateid: first.templateid,
        serviceofferingid: first.serviceofferingid,
        networkids: networkId,
        name: `bench-${number}`,
      },
      { timeoutSeconds: 300, pollMs: 20 },
    );
    const wholeMs = performance.now() - since;
    const asked = [...(await askedSeconds())]
      .map(([message, seconds]): [string, number] => [message, Math.round((seconds - (before.get(message) ?? 0)) * 1000)])
      .filter(([, ms]) => ms > 0);
    const workMs = asked.filter(([message]) => HOST_WORK.test(message)).reduce((sum, [, ms]) => sum + ms, 0);
    samples.push({ wholeMs, asked: Object.fromEntries(asked), overheadMs: wholeMs - workMs });
    await admin.run('destroyVirtualMachine', { id: vm.id, expunge: true }, { timeoutSeconds: 120 });
    // Router and hosts are told of the end after the job: that is no part of the next deployment.
    await setTimeout(SETTLE_MS);
  }
  return samples;
}

const samples = await (values.lab ? onLab() : simulated());
const overheads = samples.map(({ overheadMs }) => overheadMs);
const p50 = percentile(overheads, 0.5);
const report = {
  machine: machine(),
  hosts: values.lab ? 'the lab, libvirt and QEMU' : 'simulated, all in this process',
  unit: 'ms outside libvirt and image work',
  p50: Math.round(p50),
  p99: Math.round(percentile(overheads, 0.99)),
  target: TARGET_MS,
  samples: overheads.map(Math.round),
  ...(values.lab
    ? { whole: samples.map(({ wholeMs }) => Math.round(wholeMs)), asked: samples.map(({ asked }) => asked) }
    : { residentMibWithAllHostsInProcess: Math.round(process.memoryUsage.rss() / 1048576) }),
};
console.log(JSON.stringify(report, null, 2));
process.exit(p50 <= TARGET_MS ? 0 : 1);
