/**
 * From the start of a system VM to its agent Up, against the bare boot of the same kernel and template to its first program, in one and
 * the same boot; how long the router takes for one more guest; and what the agent then has resident. Router, template, payload, link and management's end of it are real; the machine is
 * QEMU without hardware virtualization. `node --import tsx bench/system-vm.ts [boots] [var]`, as root.
 */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { RouterConfiguration } from '../protocol/messages/router.ts';
import { runCommand } from '../systemvm/commands.ts';
import { startQemu } from '../templates/qemu.ts';
import { bootParameters } from '../templates/systemvm/boot.ts';
import { buildSystemVmTemplate } from '../templates/systemvm/build.ts';
import { buildSystemVmIso } from '../templates/systemvm/iso.ts';
import { nicsOf, openSurroundings } from '../tests/systemvm/harness.ts';
import { build } from '../tools/build.ts';
import { machine, percentile } from './link-process.ts';

const boots = Number(process.argv[2] ?? 5);
const varDir = resolve(process.argv[3] ?? 'var');
const TARGET_RATIO = 2;
const TARGET_RESIDENT_MIB = 90;
const kind = 'router';
const GUESTS_ADDED = 5;
const macs = nicsOf(kind).map((_, index) => `02:00:00:00:05:0${index}`);

/** A network with so many guests, all services on. */
const configuration = (guests: number): RouterConfiguration => {
  const numbers = Array.from({ length: guests }, (_, index) => index + 20);
  return {
    generation: guests,
    guest: { device: 'eth0', address: '10.1.1.1', prefix: 24, mtu: 1450 },
    public: { device: 'eth2', address: '203.0.113.20', prefix: 24, gateway: '203.0.113.1' },
    dhcp: {
      gateway: '10.1.1.1',
      netmask: '255.255.255.0',
      dnsServers: ['10.1.1.1'],
      domain: 'cs1.cloud.internal',
      mtu: 1450,
      leaseSeconds: 86_400,
      hosts: numbers.map((n) => ({ mac: `02:00:00:00:07:${n.toString(16)}`, address: `10.1.1.${n}`, hostName: `vm-${n}` })),
    },
    dns: {
      domain: 'cs1.cloud.internal',
      forwarders: ['203.0.113.1'],
      records: numbers.map((n) => ({ name: `vm-${n}`, address: `10.1.1.${n}` })),
    },
    sourceNat: { publicAddress: '203.0.113.20' },
    userData: {
      guests: numbers.map((n) => ({ address: `10.1.1.${n}`, metadata: { 'instance-id': `i-${n}` }, userData: '', password: null })),
    },
    firewall: { egressDefault: 'allow', egress: [] },
  };
};

const template = await buildSystemVmTemplate({ varDir });
const built = await build();
const { path: iso } = await buildSystemVmIso({ bundles: built.systemVm.paths, template, out: `${varDir}/tmp/bench.iso` });
const around = await openSurroundings(kind);
const samples: {
  bareSeconds: number;
  upSeconds: number;
  bareCpuSeconds: number;
  upCpuSeconds: number;
  residentMib: number;
  applyMs: number[];
  stages: string[];
}[] = [];
try {
  for (let boot = 0; boot < boots; boot += 1) {
    const vm = await around.makeVm(kind);
    if (boot === 0) {
      // What the harness takes for the machine's own NICs become ports of a bridge each, with the real machine's taps beside them.
      const links = ['eth1', 'eth0', 'nic7'].flatMap((device, index) => [
        `link add bridge${index} type bridge`,
        `link set ${device} address 02:00:00:00:06:0${index}`,
        `link set ${device} master bridge${index}`,
        `link set ${device} up`,
        `link set bridge${index} up`,
      ]);
      await runCommand('ip', ['-netns', vm.namespace, '-batch', '-'], { input: `${links.join('\n')}\n` });
      for (const index of macs.keys()) {
        await runCommand('ip', ['-netns', vm.namespace, 'tuntap', 'add', 'dev', `tap${index}`, 'mode', 'tap']);
        await runCommand('ip', ['-netns', vm.namespace, 'link', 'set', `tap${index}`, 'master', `bridge${index}`, 'up']);
      }
    }
    const words = (await readFile(`${vm.folder}/cmdline`, 'utf8'))
      .trim()
      .split(' ')
      .filter((word) => word.startsWith('nephos.'));
    const qemu = await startQemu({
      disk: template.qcow2,
      iso,
      namespace: vm.namespace,
      memoryMib: 256,
      direct: { kernel: template.kernel, initrd: template.initrd, words: [...bootParameters('emulated'), ...words] },
      devices: [
        ...macs.flatMap((mac, index) => [
          ...['-netdev', `tap,id=net${index},ifname=tap${index},script=no,downscript=no`],
          ...['-device', `virtio-net-pci,netdev=net${index},mac=${mac}`],
        ]),
        ...['-device', 'virtio-rng-pci'],
      ],
    });
    try {
      const bare = await qemu.waitFor(/^NEPHOS-STAGE boot /, 60);
      const up = await qemu.waitFor(/^NEPHOS-STAGE link /, 60);
      await vm.untilUp();
      await qemu.waitFor(/^NEPHOS-STAGE ready /, 60);
      const applyMs: number[] = [];
      for (let guests = 1; guests <= GUESTS_ADDED + 1; guests += 1) {
        const since = performance.now();
        await vm.ask('ApplyRouter', configuration(guests));
        applyMs.push(Math.round(performance.now() - since));
      }
      const { residentMib } = await vm.ask<{ residentMib: number }>('DescribeSystemVm');
      samples.push({
        bareSeconds: bare.atSeconds,
        upSeconds: up.atSeconds,
        bareCpuSeconds: bare.cpuSeconds,
        upCpuSeconds: up.cpuSeconds,
        residentMib,
        applyMs,
        stages: qemu.lines.filter(({ text }) => text.startsWith('NEPHOS-STAGE')).map(({ text }) => text.slice('NEPHOS-STAGE '.length)),
      });
    } finally {
      await qemu.end();
    }
  }
} finally {
  await around.close();
}
const ratios = samples.map(({ bareSeconds, upSeconds }) => upSeconds / bareSeconds);
const rounded = (value: number): number => Math.round(value * 100) / 100;
const ratio = percentile(ratios, 0.5);
const residentMib = Math.max(...samples.map((sample) => sample.residentMib));
console.log(
  JSON.stringify(
    {
      machine: machine(),
      ratio: rounded(ratio),
      ratios: ratios.map(rounded),
      targetRatio: TARGET_RATIO,
      residentMib,
      targetResidentMib: TARGET_RESIDENT_MIB,
      samples: samples.map((sample) => ({
        ...sample,
        bareSeconds: rounded(sample.bareSeconds),
        upSeconds: rounded(sample.upSeconds),
      })),
    },
    null,
    2,
  ),
);
process.exit(ratio <= TARGET_RATIO && residentMib <= TARGET_RESIDENT_MIB ? 0 : 1);
