import { In } from 'typeorm';
import type { Database } from '../core/db.ts';
import { shownPath } from '../core/owners.ts';
import type { Services } from '../core/services.ts';
import { f, view } from '../core/view.ts';
import { type ImageStoreRow, imageStores } from '../template/index.ts';
import { type StoragePoolRow, storagePools, type VolumeRow, volumes } from './entities.ts';
import { storageOverprovisioning } from './settings.ts';

interface PlaceNames {
  readonly zoneName: string;
  readonly podName: string | null;
  readonly clusterName: string | null;
}
export type StoragePoolShown = StoragePoolRow & PlaceNames & { readonly overprovisioning: number };

export const storagePoolView = view<StoragePoolShown>('StoragePoolResponse', 'storagepool', {
  id: f.string('the id of the storage pool', (row) => row.id),
  name: f.string('the name of the storage pool', (row) => row.name),
  zoneid: f.string('the zone', (row) => row.zoneId),
  zonename: f.string('the name of the zone', (row) => row.zoneName),
  podid: f.string('the pod', (row) => row.podId),
  podname: f.string('the name of the pod', (row) => row.podName),
  clusterid: f.string('the cluster whose hosts reach it', (row) => row.clusterId),
  clustername: f.string('the name of that cluster', (row) => row.clusterName),
  scope: f.string('whether it belongs to a cluster or to the whole zone', (row) => row.scope),
  type: f.string('the type of the storage pool', (row) => row.type),
  ipaddress: f.string('its server', (row) => row.server ?? 'localhost'),
  path: f.string('its path', (row) => row.path),
  hypervisor: f.string('the hypervisor of the hosts that reach it', (row) => row.hypervisor),
  provider: f.string('who provides it', () => 'DefaultPrimary'),
  managed: f.boolean('true if each volume has its own pool', () => false),
  state: f.string('the state of the storage pool', (row) => row.state),
  tags: f.string('its tags; offerings can ask for them', (row) => row.tags),
  disksizetotal: f.long('what it holds, in bytes', (row) => row.totalBytes),
  disksizeallocated: f.long('what is promised to volumes and images, in bytes', (row) => row.allocatedBytes),
  disksizeused: f.long('what is in use as the pool itself says, in bytes', (row) => row.usedBytes),
  overprovisionfactor: f.string('how many times its size it may be promised', (row) => String(row.overprovisioning)),
  created: f.date('when it was added', (row) => row.createdAt),
});

export async function loadStoragePools(
  { db, settings }: Pick<Services, 'db' | 'settings'>,
  ids: readonly string[],
): Promise<StoragePoolShown[]> {
  if (ids.length === 0) return [];
  const found = await db.read.findBy(storagePools, { id: In([...ids]) });
  const more = await db.rows<PlaceNames & { id: string }>(
    `SELECT p.id AS id, z.name AS zoneName, o.name AS podName, c.name AS clusterName FROM storage_pool p JOIN zone z ON z.id = p.zone_id
       LEFT JOIN pod o ON o.id = p.pod_id LEFT JOIN cluster c ON c.id = p.cluster_id WHERE p.id IN (?)`,
    [ids],
  );
  const byId = new Map(more.map((row) => [row.id, row]));
  return found.flatMap((row) => {
    const about = byId.get(row.id);
    const overprovisioning = settings.get(storageOverprovisioning, { zone: row.zoneId, storagepool: row.id });
    return about ? [{ ...about, ...row, overprovisioning }] : [];
  });
}

export type ImageStoreShown = ImageStoreRow & { readonly zoneName: string };
export const imageStoreView = view<ImageStoreShown>('ImageStoreResponse', 'imagestore', {
  id: f.string('the id of the image store', (row) => row.id),
  name: f.string('the name of the image store', (row) => row.name),
  zoneid: f.string('the zone', (row) => row.zoneId),
  zonename: f.string('the name of the zone', (row) => row.zoneName),
  providername: f.string('who provides it', (row) => row.provider),
  protocol: f.string('how it is reached', (row) => (row.provider === 'NFS' ? 'nfs' : 'file')),
  url: f.string('where it is', (row) => row.url),
  scope: f.string('where it can be used', () => 'ZONE'),
  readonly: f.boolean('true if nothing new is put there', (row) => row.readOnly),
  disksizetotal: f.long('what it holds, in bytes', (row) => row.totalBytes),
  disksizeused: f.long('what is in use, in bytes', (row) => row.usedBytes),
});

export async function loadImageStores({ rows, read }: Pick<Database, 'rows' | 'read'>, ids: readonly string[]): Promise<ImageStoreShown[]> {
  if (ids.length === 0) return [];
  const found = await read.findBy(imageStores, { id: In([...ids]) });
  const names = await rows<{ id: string; zoneName: string }>(
    'SELECT s.id AS id, z.name AS zoneName FROM image_store s JOIN zone z ON z.id = s.zone_id WHERE s.id IN (?)',
    [ids],
  );
  const byId = new Map(names.map((row) => [row.id, row.zoneName]));
  return found.map((row) => ({ ...row, zoneName: byId.get(row.id) ?? '' }));
}

interface VolumeAbout {
  readonly accountName: string;
  readonly domainName: string;
  readonly domainPath: string;
  readonly zoneName: string;
  readonly podId: string | null;
  readonly podName: string | null;
  readonly clusterId: string | null;
  readonly clusterName: string | null;
  readonly poolName: string | null;
  readonly hypervisor: string | null;
  readonly templateName: string | null;
  readonly templateText: string | null;
  readonly serviceOfferingName: string | null;
  readonly serviceOfferingText: string | null;
  readonly diskOfferingName: string | null;
  readonly diskOfferingText: string | null;
  readonly provisioningType: string | null;
  readonly machineKind: 'guest' | 'console-proxy' | 'secondary-storage' | 'router' | null;
  readonly machineState: string | null;
  readonly machineName: string | null;
  readonly machineDisplayName: string | null;
}
export type VolumeShown = VolumeRow & VolumeAbout;

const vmTypes = {
  guest: 'User',
  'console-proxy': 'ConsoleProxy',
  'secondary-storage': 'SecondaryStorageVm',
  router: 'DomainRouter',
} as const;

export const volumeView = view<VolumeShown>('VolumeResponse', 'volume', {
  id: f.string('the id of the volume', (row) => row.id),
  name: f.string('the name of the volume', (row) => row.name),
  type: f.string('ROOT or DATADISK', (row) => row.type),
  state: f.string('the state of the volume', (row) => row.state),
  size: f.long('the size of the volume, in bytes', (row) => row.sizeBytes),
  created: f.date('when it was made', (row) => row.createdAt),
  attached: f.date('when it was attached', (row) => (row.machineId === null ? null : row.attachedAt)),
  destroyed: f.boolean('true if it is to be removed', (row) => ['Destroy', 'Expunging', 'Expunged'].includes(row.state)),
  deviceid: f.long('its position in its machine', (row) => row.device),
  zoneid: f.string('the zone', (row) => row.zoneId),
  zonename: f.string('the name of the zone', (row) => row.zoneName),
  podid: f.string('the pod of its storage', (row) => row.podId, { adminOnly: true }),
  podname: f.string('the name of that pod', (row) => row.podName, { adminOnly: true }),
  clusterid: f.string('the cluster of its storage', (row) => row.clusterId, { adminOnly: true }),
  clustername: f.string('the name of that cluster', (row) => row.clusterName, { adminOnly: true }),
  storageid: f.string('the storage pool it is on', (row) => row.poolId, { adminOnly: true }),
  storage: f.string('the name of that pool', (row) => row.poolName, { adminOnly: true }),
  path: f.string('its name on the pool', (row) => (row.poolId === null ? null : row.id), { adminOnly: true }),
  storagetype: f.string('shared or local storage', () => 'shared'),
  provisioningtype: f.string('how room is taken for it', (row) => row.provisioningType ?? 'thin'),
  hypervisor: f.string('the hypervisor it is for', (row) => row.hypervisor),
  displayvolume: f.boolean('true if it is shown to its owner', (row) => !row.system, { adminOnly: true }),
  isextractable: f.boolean('true if its bytes can be fetched', () => false),
  account: f.string('the account it belongs to', (row) => row.accountName),
  domainid: f.string('the domain it belongs to', (row) => row.domainId),
  domain: f.string('the name of that domain', (row) => row.domainName),
  domainpath: f.string('path of that domain', (row) => shownPath(row.domainPath)),
  templateid: f.string('the template it is based on', (row) => row.templateId),
  templatename: f.string('the name of that template', (row) => row.templateName),
  templatedisplaytext: f.string('the display text of that template', (row) => row.templateText),
  serviceofferingid: f.string('the service offering, of a root disk', (row) => row.serviceOfferingId),
  serviceofferingname: f.string('the name of that service offering', (row) => row.serviceOfferingName),
  serviceofferingdisplaytext: f.string('the display text of that service offering', (row) => row.serviceOfferingText),
  diskofferingid: f.string('the disk offering', (row) => row.diskOfferingId),
  diskofferingname: f.string('the name of that disk offering', (row) => row.diskOfferingName),
  diskofferingdisplaytext: f.string('the display text of that disk offering', (row) => row.diskOfferingText),
  virtualmachineid: f.string('the machine it is attached to', (row) => row.machineId),
  vmname: f.string('the name of that machine', (row) => row.machineName),
  vmdisplayname: f.string('the display name of that machine', (row) => row.machineDisplayName ?? row.machineName),
  vmstate: f.string('the state of that machine', (row) => row.machineState),
  vmtype: f.string('the type of that machine', (row) => (row.machineKind === null ? null : vmTypes[row.machineKind])),
});

export async function loadVolumes({ rows, read }: Pick<Database, 'rows' | 'read'>, ids: readonly string[]): Promise<VolumeShown[]> {
  if (ids.length === 0) return [];
  const found = await read.findBy(volumes, { id: In([...ids]) });
  const more = await rows<VolumeAbout & { id: string }>(
    `SELECT v.id AS id, a.name AS accountName, d.name AS domainName, d.path AS domainPath, z.name AS zoneName, p.pod_id AS podId, o.name AS podName, p.cluster_id AS clusterId,
            c.name AS clusterName, p.name AS poolName, COALESCE(p.hypervisor, m.hypervisor, te.hypervisor) AS hypervisor, te.name AS templateName, te.display_text AS templateText,
            so.name AS serviceOfferingName, so.display_text AS serviceOfferingText, dk.name AS diskOfferingName, dk.display_text AS diskOfferingText,
            dk.provisioning_type AS provisioningType, m.kind AS machineKind, m.state AS machineState, COALESCE(vm.name, m.instance_name) AS machineName,
            vm.display_name AS machineDisplayName
       FROM volume v JOIN account a ON a.id = v.account_id JOIN domain d ON d.id = v.domain_id JOIN zone z ON z.id = v.zone_id
       LEFT JOIN storage_pool p ON p.id = v.pool_id LEFT JOIN pod o ON o.id = p.pod_id LEFT JOIN cluster c ON c.id = p.cluster_id
       LEFT JOIN template te ON te.id = v.template_id LEFT JOIN service_offering so ON so.id = v.service_offering_id
       LEFT JOIN disk_offering dk ON dk.id = v.disk_offering_id LEFT JOIN machine m ON m.id = v.machine_id LEFT JOIN vm ON vm.id = v.machine_id
      WHERE v.id IN (?)`,
    [ids],
  );
  const byId = new Map(more.map((row) => [row.id, row]));
  return found.flatMap((row) => {
    const about = byId.get(row.id);
    return about ? [{ ...about, ...row }] : [];
  });
}
