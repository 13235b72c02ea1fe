/** How a system VM boots: kernel, initrd, payload, and its arguments on the kernel command line. */
import { IsNull } from 'typeorm';
import { cidrOf, prefixOfNetmask } from '../../protocol/ip4.ts';
import type { MachineSpec } from '../../protocol/messages/machine.ts';
import type { Id } from '../../protocol/schema.ts';
import { newJoinToken } from '../core/agent-records.ts';
import type { Services } from '../core/services.ts';
import { cloudSshKey } from '../core/ssh-key.ts';
import { guestDomainSuffix, hosts, zones } from '../infra/index.ts';
import { machines } from '../machine/index.ts';
import { nics } from '../network/index.ts';
import { systemVms } from './entities.ts';
import { bootFileNames, mustHaveTemplate } from './template.ts';

/** Routers dial the relay of their host. */
const RELAY = '169.254.0.1';
const SIMULATED = { kernel: 'kernel-simulated', initrd: 'initrd-simulated', payload: 'systemvm-simulated.iso' };

/** Made anew for every start: the join token in it works once and for ten minutes. */
export async function bootOf(services: Services, id: Id<'machine'>): Promise<MachineSpec['boot']> {
  const { db, config, settings, certificates } = services;
  const machine = await db.read.findOneByOrFail(machines, { id });
  const { kind } = await db.read.findOneByOrFail(systemVms, { id });
  const zone = await db.read.findOneByOrFail(zones, { id: machine.zoneId });
  const host = machine.hostId ? await db.read.findOneBy(hosts, { id: machine.hostId }) : null;
  const plugged = await db.read.find(nics, { where: { machineId: id, removedAt: IsNull() }, order: { device: 'ASC' } });
  const key = await cloudSshKey(services);
  const token = await db.transact((tx) => newJoinToken(tx, { kind, id }));
  const outside = plugged.find(({ role }) => role === 'public');
  const management = plugged.find(({ role }) => role === 'management');
  const servers = config.advertise.map((each) => each.replace(/:\d+$/, ''));
  const port = config.advertise[0]?.replace(/^.*:/, '') ?? '8250';
  const words: [string, string | null | undefined][] = [
    ['type', kind],
    ['name', machine.instanceName],
    ['id', id],
    ['zone', zone.id],
    ['host', kind === 'router' ? RELAY : servers.join(',')],
    ['port', kind === 'router' ? '8250' : port],
    ['token', token],
    ['ca', certificates.caSha256],
    ['authorized_key', Buffer.from(key.publicKey).toString('base64')],
    ...plugged.flatMap(({ device, role, mac, address, netmask }): [string, string | null][] => [
      [`eth${device}role`, role],
      [`eth${device}mac`, mac],
      [`eth${device}ip`, address],
      [`eth${device}mask`, netmask],
    ]),
    ['gateway', outside?.gateway],
    ['gatewaydev', outside ? `eth${outside.device}` : null],
    ['mgmtcidr', management?.address && management.netmask ? cidrOf(management.address, prefixOfNetmask(management.netmask)) : null],
    ['localgw', management?.gateway],
    ['dns1', zone.dns1],
    ['dns2', zone.dns2],
    ['internaldns1', zone.internalDns1],
    ['internaldns2', zone.internalDns2],
    ['domain', zone.networkDomain ?? settings.get(guestDomainSuffix, { zone: zone.id })],
  ];
  // With a dot in the name the kernel does not count them among the words it does not know, of which it takes only some thirty.
  const own = words
    .filter(([, value]) => value !== null && value !== undefined && value !== '')
    .map(([name, value]) => `nephos.${name}=${value}`);
  if (machine.hypervisor === 'Simulator') return { kind: 'direct', ...SIMULATED, arguments: own.join(' ') };
  const template = await mustHaveTemplate(config);
  const parameters = template.bootParameters[host?.description?.accelerator === 'kvm' ? 'kvm' : 'emulated'];
  return { kind: 'direct', ...bootFileNames(template), arguments: [...parameters, ...own].join(' ') };
}

/** The files a host needs before it can boot one; null where hosts are simulated. */
export async function bootFiles({ db, config }: Services, id: Id<'machine'>) {
  const { hypervisor } = await db.read.findOneByOrFail(machines, { id });
  // Nothing is fetched from there: a simulated host only notes the names.
  if (hypervisor === 'Simulator')
    return { files: Object.values(SIMULATED).map((name) => ({ name, url: 'https://simulated.invalid/', sha256: '0'.repeat(64) })) };
  const template = await mustHaveTemplate(config);
  const names = bootFileNames(template);
  const file = (name: string, sha256: string) => ({ name, url: `https://${config.advertise[0]}/files/${name}`, sha256 });
  return {
    files: [
      file(names.kernel, template.kernel.sha256),
      file(names.initrd, template.initrd.sha256),
      file(names.payload, template.iso.sha256),
    ],
  };
}
