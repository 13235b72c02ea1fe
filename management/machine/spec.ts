/** What a host is told to start, made from the record at the moment of asking. */
import { IsNull } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import type { MachineSpec, NicSpec } from '../../protocol/messages/machine.ts';
import type { Id } from '../../protocol/schema.ts';
import type { Services } from '../core/services.ts';
import { bridgeFor } from '../infra/index.ts';
import { type NicRow, networks, nics } from '../network/index.ts';
import { imageCopies, volumesOf } from '../storage/index.ts';
import { machines } from './entities.ts';

const trafficOf = { management: 'Management', public: 'Public', storage: 'Storage' } as const;
/** MTU of a NIC on the cloud's own networks. */
const PLAIN_MTU = 1500;

export async function machineSpec(services: Services, machineId: Id<'machine'>, boot: MachineSpec['boot']): Promise<MachineSpec> {
  const { db, secrets } = services;
  const machine = await db.read.findOneByOrFail(machines, { id: machineId });
  if (!machine.vncPassword) throw new CloudError('WrongState', 'the machine is not being started');
  const plugged = await db.read.find(nics, { where: { machineId, removedAt: IsNull() }, order: { device: 'ASC' } });
  const disks = (await volumesOf(db.read, machineId)).flatMap(({ id, poolId, device, state }) =>
    poolId && state === 'Ready' ? [{ volumeId: id, poolId, device: device ?? 0, bus: 'virtio' as const }] : [],
  );
  // The one on the pool of its own disks: a copy on another pool may be out of the host's reach.
  const isoPoolId = disks[0]?.poolId;
  const isoCopy =
    machine.isoId && isoPoolId
      ? await db.read.findOneBy(imageCopies, { templateId: machine.isoId, poolId: isoPoolId, state: 'Ready' })
      : null;
  return {
    id: machine.id,
    name: machine.instanceName,
    kind: machine.kind,
    cpuCount: machine.cpuCount,
    cpuMhz: machine.cpuMhz,
    memoryMib: machine.memoryMib,
    boot,
    disks,
    iso: machine.isoId && isoCopy ? { imageId: machine.isoId, poolId: isoCopy.poolId } : null,
    nics: await Promise.all(plugged.map((nic) => nicSpec(services, nic, machine.kind === 'guest'))),
    vncPassword: secrets.open(machine.vncPassword).reveal(),
    keyboard: 'en-us',
  };
}

async function nicSpec({ db }: Services, nic: NicRow, guarded: boolean): Promise<NicSpec> {
  const { attachment, mtu } = await attach(db, nic);
  return {
    nicId: nic.id,
    device: nic.device,
    mac: nic.mac,
    mtu,
    attachment,
    addresses: guarded && nic.address ? [nic.address] : null,
    model: 'virtio',
  };
}

async function attach(db: Services['db'], nic: NicRow): Promise<Pick<NicSpec, 'attachment' | 'mtu'>> {
  if (nic.role === 'control') return { attachment: { kind: 'control' }, mtu: PLAIN_MTU };
  if (nic.role === 'guest') {
    const network = nic.networkId ? await db.read.findOneBy(networks, { id: nic.networkId }) : null;
    if (!network?.vni) throw new CloudError('WrongState', `the network ${network?.name ?? ''} is not implemented`);
    return { attachment: { kind: 'vxlan', vni: network.vni }, mtu: network.mtu };
  }
  return { attachment: { kind: 'bridge', bridge: await bridgeFor(db.read, nic.zoneId, trafficOf[nic.role]) }, mtu: PLAIN_MTU };
}
