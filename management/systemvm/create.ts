/** Rows of a new system VM: machine, NICs, root volume, agent. Everything it will be is written before anything starts. */
import { IsNull } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import { newId } from '../../protocol/ids.ts';
import type { SystemVmKindName } from '../../protocol/kinds.ts';
import type { Id } from '../../protocol/schema.ts';
import { systemAccount } from '../account/index.ts';
import { newAgent, removeAgent } from '../core/agent-records.ts';
import { nextNumber } from '../core/counters.ts';
import type { Tx } from '../core/db.ts';
import { hasStorageNetwork } from '../infra/index.ts';
import { machines } from '../machine/index.ts';
import { allocateGatewayNic, allocateSystemNic, ensureSourceNat, type NetworkRow, releaseNics } from '../network/index.ts';
import { systemOfferingFor } from '../offering/index.ts';
import { allocateVolume, volumes } from '../storage/index.ts';
import { storedImages, templates } from '../template/index.ts';
import { systemVms } from './entities.ts';
import { kinds } from './kinds.ts';

const ROOT_BYTES_WHEN_SIMULATED = 2 ** 31;

export interface NewSystemVm {
  readonly kind: SystemVmKindName;
  readonly zoneId: Id<'zone'>;
  /** For a router. */
  readonly network: NetworkRow | null;
}

export async function createSystemVm(tx: Tx, { kind, zoneId, network }: NewSystemVm): Promise<Id<'machine'>> {
  const definition = kinds[kind];
  const owner = await systemAccount(tx);
  const offering = await systemOfferingFor(tx, kind);
  const pod = await podWithHosts(tx, zoneId);
  const template =
    (await tx.find(templates, { where: { type: 'SYSTEM', removedAt: IsNull() }, order: { id: 'DESC' }, take: 1 }))[0] ?? null;
  if (!template && pod.hypervisor !== 'Simulator')
    throw new CloudError('ResourceUnavailable', 'the system VM template is not registered yet');
  const image = template ? await tx.findOneBy(storedImages, { templateId: template.id, zoneId, removedAt: IsNull() }) : null;
  const id = newId('machine');
  const number = await nextNumber(tx, 'instance');
  await tx.insert(machines, {
    id,
    kind,
    instanceName: `${definition.namePrefix}-${number}-VM`,
    accountId: owner.id,
    domainId: owner.domainId,
    zoneId,
    podId: pod.id,
    hypervisor: pod.hypervisor,
    state: 'Stopped',
    generation: 0,
    power: 'Off',
    powerAt: null,
    hostId: null,
    lastHostId: null,
    cpuCount: offering.cpuCount,
    cpuMhz: offering.cpuMhz,
    memoryMib: offering.memoryMib,
    serviceOfferingId: offering.id,
    templateId: template?.id ?? null,
    isoId: null,
    haEnabled: true,
    hostTags: null,
    vncPassword: null,
    vncPort: null,
    createdAt: new Date(),
    removedAt: null,
  });
  let device = 0;
  const withStorage = await hasStorageNetwork(tx, zoneId);
  let address: string | null = null;
  for (const role of definition.nics) {
    if (role === 'storage' && !withStorage) continue;
    if (role === 'guest') {
      if (!network) throw new CloudError('Internal', `a ${kind} needs a network`);
      await allocateGatewayNic(tx, id, network, device);
    } else {
      const publicAddress = role === 'public' && network ? await ensureSourceNat(tx, network) : null;
      const nic = await allocateSystemNic(tx, { machineId: id, zoneId, podId: pod.id, role, device, publicAddress });
      // Hosts fetch images over the storage network, or management where there is none.
      if (role === 'storage' || (role === 'management' && !address)) address = nic.address;
    }
    device += 1;
  }
  await allocateVolume(tx, {
    accountId: owner.id,
    domainId: owner.domainId,
    zoneId,
    machineId: id,
    templateId: template?.id ?? null,
    diskOfferingId: null,
    serviceOfferingId: offering.id,
    type: 'ROOT',
    device: 0,
    name: `ROOT-${number}`,
    sizeBytes: image?.virtualSizeBytes ?? ROOT_BYTES_WHEN_SIMULATED,
    system: true,
  });
  await newAgent(tx, { kind, id, zoneId, address });
  await tx.insert(systemVms, {
    id,
    kind,
    zoneId,
    networkId: network?.id ?? null,
    draining: false,
    keepStopped: false,
    version: null,
    sshKeySha256: null,
    createdAt: new Date(),
    removedAt: null,
  });
  return id;
}

/** Takes the rows of a system VM back: nothing of it runs and nothing of it is on a pool. */
export async function discardSystemVm(tx: Tx, id: Id<'machine'>): Promise<void> {
  const now = new Date();
  await releaseNics(tx, id);
  await tx.update(volumes, { machineId: id, removedAt: IsNull() }, { removedAt: now, machineId: null });
  await tx.update(machines, { id }, { removedAt: now, hostId: null, vncPassword: null });
  await tx.update(systemVms, { id }, { removedAt: now });
  await removeAgent(tx, id);
}

/** The enabled pod with the most hosts that are up, and what they run. */
async function podWithHosts(tx: Tx, zoneId: Id<'zone'>): Promise<{ id: Id<'pod'>; hypervisor: string }> {
  const [found] = await tx.query(
    `SELECT h.pod_id AS id, MIN(h.hypervisor) AS hypervisor FROM host h JOIN agent a ON a.id = h.id JOIN pod p ON p.id = h.pod_id JOIN cluster c ON c.id = h.cluster_id
      WHERE h.zone_id = ? AND a.state = 'Up' AND h.resource_state = 'Enabled' AND h.removed_at IS NULL AND p.allocation_state = 'Enabled' AND c.allocation_state = 'Enabled'
      GROUP BY h.pod_id ORDER BY COUNT(*) DESC LIMIT 1`,
    [zoneId],
  );
  if (!found) throw new CloudError('InsufficientCapacity', 'no host of this zone is up and enabled');
  return found;
}
