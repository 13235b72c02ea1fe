/**
 * From the start of a system VM to its agent Up, beside the bare boot of the same kernel and template to its first user process: turn by
 * turn in one run on the same machine, so both meet the same load. The bare boot is QEMU with the same kernel, initrd, root disk, memory,
 * boot parameters and kinds of network cards, and nothing behind them. `node --import tsx bench/boot-system-vm.ts [runs] [consoleproxy|secondarystoragevm]`;
 * needs what `npm run up` has made, and boots that system VM anew.
 */
import { readFile } from 'node:fs/promises';
import { eventually, type Reply } from '../lab/client.ts';
import { pathsOf, varDirectory } from '../lab/installation.ts';
import { inHost } from '../lab/lab.ts';
import { CloudError } from '../protocol/errors.ts';
import { startQemu } from '../templates/qemu.ts';
import { bootParameters } from '../templates/systemvm/boot.ts';
import { labCloud } from './lab.ts';
import { machine, percentile } from './link-process.ts';

const runs = Number(process.argv[2] ?? 3);
const systemvmtype = process.argv[3] ?? 'consoleproxy';
const RATIO_MAX = 2;
const POLL_MS = 100;
const BOOT_SECONDS = 300;

const { admin } = await labCloud();
const template: { qcow2: { path: string }; kernel: { path: string }; initrd: { path: string } } = JSON.parse(
  await readFile(pathsOf(varDirectory).systemTemplate, 'utf8'),
);
const find = async (): Promise<Reply> => {
  const [vm] = await admin.list('listSystemVms', { systemvmtype });
  if (!vm) throw new CloudError('NotFound', `there is no ${systemvmtype}`);
  return vm;
};
const offering = (await admin.list('listServiceOfferings', { id: (await find()).serviceofferingid, issystem: true }))[0];
const nicCount = [...new Set([(await find()).linklocalip, (await find()).privateip, (await find()).publicip].filter(Boolean))].length;

async function bareBoot(): Promise<number> {
  const devices = Array.from({ length: nicCount }, (_, index) => [
    ...['-netdev', `user,id=n${index},restrict=on`],
    ...['-device', `virtio-net-pci,netdev=n${index}`],
  ]).flat();
  const qemu = await startQemu({
    disk: template.qcow2.path,
    memoryMib: Number(offering?.memory ?? 512),
    direct: { kernel: template.kernel.path, initrd: template.initrd.path, words: bootParameters('emulated') },
    devices: [...devices, '-device', 'virtio-rng-pci'],
  });
  try {
    // PID 1 of the template says this first.
    return (await qemu.waitFor(/NEPHOS-STAGE boot/, BOOT_SECONDS)).atSeconds;
  } finally {
    await qemu.end();
  }
}

/** When QEMU of a machine was started, on the clock of the machine, which all hosts of the lab share. */
async function startedAtSeconds({ hostname, name }: Reply): Promise<number | null> {
  const pidFile = `/run/libvirt/qemu/${name}.pid`;
  const { code, stdout } = await inHost(hostname, 'cat', [pidFile], { timeoutSeconds: 10, acceptedCodes: [1] });
  if (code !== 0) return null;
  const stat = await inHost(hostname, 'cat', [`/proc/${stdout.trim()}/stat`], { timeoutSeconds: 10, acceptedCodes: [1] });
  const ticks = Number(stat.stdout.replace(/^.*\) /s, '').split(' ')[19]);
  return stat.code === 0 ? ticks / 100 : null;
}
const uptimeSeconds = async (): Promise<number> => Number((await readFile('/proc/uptime', 'utf8')).split(' ')[0]);

interface Boot {
  /** From the start of QEMU to the agent Up. */
  readonly qemuSeconds: number;
  /** From the call of startSystemVm to the same. */
  readonly callSeconds: number;
}
async function systemVmBoot(): Promise<Boot> {
  const { id } = await find();
  await admin.run('stopSystemVm', { id }, { timeoutSeconds: 180 });
  const since = performance.now();
  const { jobid } = await admin.call('startSystemVm', { id });
  const up = await eventually(
    'the system VM is up',
    async () => {
      const [vm] = await admin.list('listSystemVms', { id });
      return vm?.state === 'Running' && vm.agentstate === 'Up' ? vm : null;
    },
    { timeoutSeconds: BOOT_SECONDS, everyMs: POLL_MS },
  );
  const callSeconds = (performance.now() - since) / 1000;
  const now = await uptimeSeconds();
  const started = await startedAtSeconds(up);
  await admin.job('startSystemVm', jobid, { timeoutSeconds: 60 });
  if (started === null) throw new CloudError('NotFound', `QEMU of ${up.name} was not found on ${up.hostname}`);
  return { qemuSeconds: now - started, callSeconds };
}

const samples: (Boot & { bareSeconds: number })[] = [];
for (let run = 0; run < runs; run += 1) {
  const bareSeconds = await bareBoot();
  samples.push({ bareSeconds, ...(await systemVmBoot()) });
}
const median = (pick: (sample: (typeof samples)[number]) => number): number => percentile(samples.map(pick), 0.5);
const round = (seconds: number): number => Number(seconds.toFixed(2));
// Run by run, as what else the machine does changes between them.
const ratio = median(({ qemuSeconds, bareSeconds }) => qemuSeconds / bareSeconds);
console.log(
  JSON.stringify(
    {
      machine: machine(),
      unit: 's',
      systemvmtype,
      memoryMib: Number(offering?.memory ?? 512),
      nics: nicCount,
      bare: round(median(({ bareSeconds }) => bareSeconds)),
      fromQemu: round(median(({ qemuSeconds }) => qemuSeconds)),
      fromCall: round(median(({ callSeconds }) => callSeconds)),
      ratio: round(ratio),
      targetRatio: RATIO_MAX,
      samples: samples.map(({ bareSeconds, qemuSeconds, callSeconds }) => [bareSeconds, qemuSeconds, callSeconds].map(round)),
    },
    null,
    2,
  ),
);
process.exit(ratio <= RATIO_MAX ? 0 : 1);
