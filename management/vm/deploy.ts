/** Rules and rows of a new guest. */
import { randomInt, randomUUID } from 'node:crypto';
import { IsNull } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import { newId } from '../../protocol/ids.ts';
import { type Id, Secret } from '../../protocol/schema.ts';
import type { Context } from '../core/context.ts';
import { nextNumber } from '../core/counters.ts';
import { lock, type Tx } from '../core/db.ts';
import { accounts } from '../core/owners.ts';
import type { HostRow, ZoneRow } from '../infra/index.ts';
import { machines } from '../machine/index.ts';
import { allocateGuestNic, createGuestNetwork, type NetworkRow, networks } from '../network/index.ts';
import { type DiskOfferingRow, diskGibOf, networkOfferings, type ServiceOfferingRow, sizeOf } from '../offering/index.ts';
import { allocateVolume } from '../storage/index.ts';
import { storedImages, type TemplateRow } from '../template/index.ts';
import { sshKeyPairs, vmKeys, vms } from './entities.ts';
import { writeMetadata } from './metadata.ts';
import { userDataMaxBytes } from './settings.ts';

const GIB = 2 ** 30;

export interface NewGuest {
  readonly owner: { readonly accountId: Id<'account'>; readonly domainId: Id<'domain'> };
  readonly zone: ZoneRow;
  readonly offering: ServiceOfferingRow;
  readonly template: TemplateRow;
  /** Wanted, where the template leaves it open. */
  readonly hypervisor: string | undefined;
  readonly name: string | undefined;
  readonly displayName: string | undefined;
  readonly group: string | undefined;
  readonly networks: readonly NetworkRow[];
  /** Wanted addresses by network. */
  readonly addresses: ReadonlyMap<string, string>;
  /** Wanted MACs by network. */
  readonly macs: ReadonlyMap<string, string>;
  readonly userData: string | undefined;
  readonly keyPairs: readonly string[];
  readonly details: Readonly<Record<string, string>>;
  readonly diskOffering: DiskOfferingRow | undefined;
  readonly diskSizeGib: number | undefined;
  readonly rootSizeGib: number | undefined;
  readonly host: HostRow | undefined;
  readonly displayVm: boolean;
}

/** Details that a deployment may carry; everything else could reach the hypervisor and is refused. */
const DETAILS = ['cpuNumber', 'cpuSpeed', 'memory'];

/** Base64 of the bytes, whatever alphabet and padding it came in; throws when it is none or too large. */
export function checkUserData(text: string, bytesMax: number): string {
  const plain = text.replace(/\s+/g, '').replaceAll('-', '+').replaceAll('_', '/').replaceAll('%2B', '+').replaceAll('%3D', '=');
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(plain)) throw new CloudError('InvalidParameter', 'the user data is not Base64');
  const bytes = Buffer.from(plain, 'base64');
  if (bytes.length > bytesMax)
    throw new CloudError('InvalidParameter', `the user data has ${bytes.length} bytes; at most ${bytesMax} are allowed`);
  return bytes.toString('base64');
}

export function checkHostName(name: string): string {
  if (!/^[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/.test(name)) {
    throw new CloudError(
      'InvalidParameter',
      `Invalid name '${name.slice(0, 80)}': a virtual machine name has up to 63 letters, digits and hyphens, begins with a letter and ends with a letter or digit`,
    );
  }
  return name;
}

/** Writes everything of a new guest but its start. Returns its id, and its password where the template wants one. */
export async function createGuest(tx: Tx, context: Context, wanted: NewGuest): Promise<{ id: Id<'machine'>; password: Secret | null }> {
  const { zone, offering, template, owner } = wanted;
  const unknown = Object.keys(wanted.details).find((key) => !DETAILS.includes(key));
  if (unknown !== undefined)
    throw new CloudError('InvalidParameter', `the detail '${unknown.slice(0, 60)}' cannot be set; allowed are ${DETAILS.join(', ')}`);
  const image = await tx.findOneBy(storedImages, { templateId: template.id, zoneId: zone.id, state: 'DOWNLOADED', removedAt: IsNull() });
  if (!image?.virtualSizeBytes)
    throw new CloudError('InvalidParameter', `the ${template.kind} ${template.name} is not ready in the zone ${zone.name} yet`);
  const isIso = template.kind === 'iso';
  if (template.type === 'SYSTEM')
    throw new CloudError('InvalidParameter', `the template ${template.name} is that of system VMs, and no guest is made from it`);
  if (isIso && !template.bootable)
    throw new CloudError('InvalidParameter', `Installing from ISO requires an ISO that is bootable: ${template.id}`);
  if (isIso && !wanted.diskOffering)
    throw new CloudError('InvalidParameter', 'deploying from an ISO needs diskofferingid, for the disk to install on');
  const size = sizeOf(offering, wanted.details);
  const keys = await findKeys(tx, owner.accountId, wanted.keyPairs);
  const userData = wanted.userData === undefined ? null : checkUserData(wanted.userData, context.settings.get(userDataMaxBytes));

  const id = newId('machine');
  const account = await tx.findOneByOrFail(accounts, { id: owner.accountId });
  const name = checkHostName(wanted.name ?? `VM-${randomUUID()}`);
  const into = wanted.networks.length > 0 ? wanted.networks : [await usualNetwork(tx, context, wanted)];
  for (const network of [...into].sort((a, b) => (a.id < b.id ? -1 : 1))) await checkNetwork(tx, network, zone, name);
  const rootBytes = isIso
    ? diskBytes(wanted.diskOffering, wanted.diskSizeGib, context)
    : Math.max(image.virtualSizeBytes, (wanted.rootSizeGib ?? offering.rootDiskSizeGib ?? 0) * GIB);
  if (!isIso && wanted.rootSizeGib !== undefined && wanted.rootSizeGib * GIB < image.virtualSizeBytes) {
    throw new CloudError(
      'InvalidParameter',
      `rootdisksize is smaller than the template, which has ${Math.ceil(image.virtualSizeBytes / GIB)} GiB`,
    );
  }
  for (const [device, network] of into.entries()) {
    await allocateGuestNic(tx, {
      machineId: id,
      network,
      device,
      isDefault: device === 0,
      address: wanted.addresses.get(network.id) ?? null,
      mac: wanted.macs.get(network.id) ?? null,
    });
  }
  // After the networks, as whoever makes a router does it in this order too and the counter is everybody's.
  const number = await nextNumber(tx, 'instance');
  await tx.insert(machines, {
    id,
    kind: 'guest',
    instanceName: `i-${account.number}-${number}-VM`,
    accountId: owner.accountId,
    domainId: owner.domainId,
    zoneId: zone.id,
    podId: null,
    hypervisor: await hypervisorOf(tx, wanted),
    state: 'Stopped',
    generation: 0,
    power: 'Off',
    powerAt: null,
    hostId: null,
    lastHostId: null,
    ...size,
    serviceOfferingId: offering.id,
    templateId: isIso ? null : template.id,
    isoId: isIso ? template.id : null,
    haEnabled: offering.haEnabled,
    hostTags: offering.hostTags,
    vncPassword: null,
    vncPort: null,
    createdAt: new Date(),
    removedAt: null,
  });
  await tx.insert(vms, {
    id,
    ...owner,
    userId: context.caller.userId,
    name,
    displayName: wanted.displayName ?? name,
    group: wanted.group ?? null,
    osTypeId: template.osTypeId,
    userData,
    details: { ...wanted.details },
    displayVm: wanted.displayVm,
    deleteProtection: false,
    destroyedAt: null,
    createdAt: new Date(),
    removedAt: null,
  });
  for (const { name: keyName, publicKey } of keys) await tx.insert(vmKeys, { machineId: id, name: keyName, publicKey });
  const volume = {
    accountId: owner.accountId,
    domainId: owner.domainId,
    zoneId: zone.id,
    machineId: id,
    serviceOfferingId: offering.id,
    system: false,
  };
  await allocateVolume(tx, {
    ...volume,
    templateId: isIso ? null : template.id,
    diskOfferingId: isIso ? (wanted.diskOffering?.id ?? null) : null,
    type: 'ROOT',
    device: 0,
    name: `ROOT-${number}`,
    sizeBytes: rootBytes,
  });
  if (!isIso && wanted.diskOffering) {
    const sizeBytes = diskBytes(wanted.diskOffering, wanted.diskSizeGib, context);
    await allocateVolume(tx, {
      ...volume,
      serviceOfferingId: null,
      templateId: null,
      diskOfferingId: wanted.diskOffering.id,
      type: 'DATADISK',
      device: 1,
      name: `DATA-${number}`,
      sizeBytes,
    });
  }
  const password = template.passwordEnabled ? new Secret(newPassword()) : null;
  await writeMetadata(tx, id, password ? { sealed: context.secrets.seal(password) } : undefined);
  return { id, password };
}

function diskBytes(offering: DiskOfferingRow | undefined, sizeGib: number | undefined, { settings }: Pick<Context, 'settings'>): number {
  if (!offering) throw new CloudError('InvalidParameter', 'diskofferingid is needed');
  return diskGibOf(offering, sizeGib, settings) * GIB;
}

async function findKeys(tx: Tx, accountId: Id<'account'>, names: readonly string[]) {
  const found = [];
  for (const name of new Set(names)) {
    const key = await tx.findOneBy(sshKeyPairs, { accountId, name, removedAt: IsNull() });
    if (!key) throw noKey(name);
    found.push(key);
  }
  return found;
}
export const noKey = (name: string) =>
  new CloudError('InvalidParameter', `A key pair with name '${name.slice(0, 100)}' does not exist for account in the specified domain`);

/** Without networks named: the account's only one in the zone, or a first one of the default offering. */
async function usualNetwork(tx: Tx, context: Context, { owner, zone }: NewGuest): Promise<NetworkRow> {
  // Two first deployments at once make one network, not two.
  await lock(tx, accounts, { id: owner.accountId });
  const own = await tx.find(networks, { where: { accountId: owner.accountId, zoneId: zone.id, removedAt: IsNull() } });
  if (own.length > 1)
    throw new CloudError('InvalidParameter', 'the account has more than one network in this zone; say which with networkids');
  if (own[0]) return own[0];
  const [offering] = await tx.find(networkOfferings, {
    where: { availability: 'Required', state: 'Enabled', guestType: 'Isolated', removedAt: IsNull() },
  });
  if (!offering)
    throw new CloudError(
      'InvalidParameter',
      'the account has no network in this zone; create one with createNetwork and name it with networkids',
    );
  const account = await tx.findOneByOrFail(accounts, { id: owner.accountId });
  return createGuestNetwork(tx, context, { ...owner, zone, offering, name: `${account.name}-network` });
}

/** With the network locked: nobody else deletes it, or takes the name in it, before this transaction ends. */
async function checkNetwork(tx: Tx, { id, name }: NetworkRow, zone: ZoneRow, hostName: string): Promise<void> {
  const network = await lock(tx, networks, { id });
  if (!network || network.removedAt || network.state === 'Destroy')
    throw new CloudError('InvalidParameter', `the network ${name} is being deleted`);
  if (network.zoneId !== zone.id) throw new CloudError('InvalidParameter', `the network ${name} is in another zone`);
  await checkNameFree(tx, { hostName, networkIds: [id], except: null });
}

/** Names are in the DNS of each network; the networks are locked by the caller. */
export async function checkNameFree(
  tx: Tx,
  { hostName, networkIds, except }: { hostName: string; networkIds: readonly Id<'network'>[]; except: Id<'machine'> | null },
): Promise<void> {
  if (networkIds.length === 0) return;
  const [twin] = await tx.query(
    `SELECT n.name AS network FROM vm v JOIN nic c ON c.machine_id = v.id AND c.removed_at IS NULL JOIN network n ON n.id = c.network_id
      WHERE c.network_id IN (?) AND v.name = ? AND v.removed_at IS NULL AND (? IS NULL OR v.id <> ?) LIMIT 1`,
    [networkIds, hostName, except, except],
  );
  if (twin)
    throw new CloudError(
      'InvalidParameter',
      `There is already a virtual machine with the host name ${hostName} in the network ${twin.network}`,
    );
}

/** That of the template; an ISO has none, so there it is the one asked for, or the zone's only one. */
async function hypervisorOf(tx: Tx, { zone, template, hypervisor }: NewGuest): Promise<string> {
  if (template.hypervisor) return template.hypervisor;
  const rows: { hypervisor: string }[] = await tx.query(
    'SELECT DISTINCT hypervisor FROM cluster WHERE zone_id = ? AND removed_at IS NULL ORDER BY hypervisor',
    [zone.id],
  );
  const fitting = hypervisor === undefined ? rows : rows.filter((row) => row.hypervisor.toLowerCase() === hypervisor.toLowerCase());
  const [found, another] = fitting;
  if (!found)
    throw new CloudError('InvalidParameter', `the zone ${zone.name} has no cluster of ${hypervisor?.slice(0, 40) ?? 'any hypervisor'}`);
  if (another)
    throw new CloudError(
      'InvalidParameter',
      `the zone ${zone.name} has clusters of ${rows.map((row) => row.hypervisor).join(' and ')}; say which with hypervisor`,
    );
  return found.hypervisor;
}

const ALPHABET = 'abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789';
export const newPassword = (): string => Array.from({ length: 12 }, () => ALPHABET[randomInt(ALPHABET.length)]).join('');
