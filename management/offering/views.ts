import { In, IsNull } from 'typeorm';
import type { Id } from '../../protocol/schema.ts';
import type { Database } from '../core/db.ts';
import { type Fields, f, view } from '../core/view.ts';
import {
  type DiskOfferingRow,
  diskOfferings,
  type NetworkOfferingRow,
  networkOfferings,
  type ServiceOfferingRow,
  serviceOfferings,
} from './entities.ts';
import { domainsOf, type OfferingDomain } from './visibility.ts';

type Limited<R> = R & { readonly domains: readonly OfferingDomain[] };
export type ServiceOfferingShown = Limited<ServiceOfferingRow>;
export type DiskOfferingShown = Limited<DiskOfferingRow>;
export type NetworkOfferingShown = NetworkOfferingRow & { readonly routerOfferingId: string | null };
type Loader = Pick<Database, 'read' | 'rows'>;

const joined = (texts: readonly string[]): string | null => (texts.length === 0 ? null : texts.join(','));
async function withDomains<R extends { id: string }>(db: Loader, rows: readonly R[]): Promise<Limited<R>[]> {
  if (rows.length === 0) return [];
  const found = await domainsOf(
    db,
    rows.map(({ id }) => id),
  );
  return rows.map((row) => ({ ...row, domains: found.filter(({ offeringId }) => offeringId === row.id) }));
}

export const loadServiceOfferings = async (db: Loader, ids: readonly string[]): Promise<ServiceOfferingShown[]> =>
  withDomains(db, await db.read.findBy(serviceOfferings, { id: In([...ids]) }));
export const loadDiskOfferings = async (db: Loader, ids: readonly string[]): Promise<DiskOfferingShown[]> =>
  withDomains(db, await db.read.findBy(diskOfferings, { id: In([...ids]) }));
export async function loadNetworkOfferings(db: Loader, ids: readonly string[]): Promise<NetworkOfferingShown[]> {
  const rows = await db.read.findBy(networkOfferings, { id: In(ids as Id<'networkOffering'>[]) });
  const router = await db.read.findOneBy(serviceOfferings, { systemVmType: 'domainrouter', builtIn: true, removedAt: IsNull() });
  return rows.map((row) => ({ ...row, routerOfferingId: router?.id ?? null }));
}

const isCustom = ({ cpuCount, memoryMib }: ServiceOfferingRow) => cpuCount === null || memoryMib === null;
const limits = (row: ServiceOfferingRow): Record<string, string> | null => {
  const given = Object.entries({
    mincpunumber: row.minCpuCount,
    maxcpunumber: row.maxCpuCount,
    minmemory: row.minMemoryMib,
    maxmemory: row.maxMemoryMib,
  }).flatMap(([name, value]) => (value === null ? [] : [[name, String(value)]]));
  return given.length === 0 ? null : Object.fromEntries(given);
};

export const serviceOfferingView = view<ServiceOfferingShown>('ServiceOfferingResponse', 'serviceoffering', {
  id: f.string('the id of the service offering', (row) => row.id),
  name: f.string('the name of the service offering', (row) => row.name),
  displaytext: f.string('the display text of the service offering', (row) => row.displayText),
  cpunumber: f.integer('CPUs; left out where the user chooses', (row) => row.cpuCount),
  cpuspeed: f.integer('MHz of a CPU; left out where the user chooses', (row) => row.cpuMhz),
  memory: f.integer('memory in MiB; left out where the user chooses', (row) => row.memoryMib),
  iscustomized: f.boolean('true where the user chooses the size', isCustom),
  serviceofferingdetails: f.map('limits of the choice', limits),
  state: f.string('Active or Inactive', (row) => row.state),
  storagetype: f.string('shared or local', (row) => row.storageType),
  provisioningtype: f.string('how disks are laid out', () => 'thin'),
  rootdisksize: f.long('GiB of the root disk; left out for the size of the template', (row) => row.rootDiskSizeGib),
  hosttags: f.string('tags that a host must have', (row) => row.hostTags),
  storagetags: f.string('tags that the storage pool of the root disk must have', (row) => row.storageTags),
  offerha: f.boolean('true if its machines are started elsewhere when their host fails', (row) => row.haEnabled),
  limitcpuuse: f.boolean('true if a machine never gets more CPU than the offering says', (row) => row.limitCpuUse),
  isvolatile: f.boolean('true if the root disk is made anew at every start', () => false),
  issystem: f.boolean('true if it is for system VMs', (row) => row.system),
  defaultuse: f.boolean('true if system VMs get it unless told otherwise', (row) => row.builtIn),
  systemvmtype: f.string('the kind of system VM it is for', (row) => row.systemVmType),
  domainid: f.string('the domains it is for; left out for everybody', ({ domains }) => joined(domains.map(({ id }) => id))),
  domain: f.string('the names of these domains', ({ domains }) => joined(domains.map(({ name }) => name))),
  created: f.date('when the offering was made', (row) => row.createdAt),
});

export const diskOfferingView = view<DiskOfferingShown>('DiskOfferingResponse', 'diskoffering', {
  id: f.string('the id of the disk offering', (row) => row.id),
  name: f.string('the name of the disk offering', (row) => row.name),
  displaytext: f.string('the display text of the disk offering', (row) => row.displayText),
  disksize: f.long('GiB of the disk; 0 where the user chooses', (row) => row.sizeGib ?? 0),
  iscustomized: f.boolean('true where the user chooses the size', (row) => row.sizeGib === null),
  state: f.string('Active or Inactive', (row) => row.state),
  storagetype: f.string('shared or local', (row) => row.storageType),
  provisioningtype: f.string('how the disk is laid out', (row) => row.provisioningType),
  displayoffering: f.boolean('true if it is shown to users', (row) => row.displayOffering),
  tags: f.string('tags that a storage pool must have', (row) => row.tags),
  domainid: f.string('the domains it is for; left out for everybody', ({ domains }) => joined(domains.map(({ id }) => id))),
  domain: f.string('the names of these domains', ({ domains }) => joined(domains.map(({ name }) => name))),
  created: f.date('when the offering was made', (row) => row.createdAt),
});

const providerFields: Fields<string> = { name: f.string('the name of the provider', (name) => name) };
const serviceFields: Fields<[string, string]> = {
  name: f.string('the name of the service', ([name]) => name),
  provider: f.list('who provides it', ([, provider]) => [provider], providerFields),
};
export const networkOfferingView = view<NetworkOfferingShown>('NetworkOfferingResponse', 'networkoffering', {
  id: f.string('the id of the network offering', (row) => row.id),
  name: f.string('the name of the network offering', (row) => row.name),
  displaytext: f.string('the display text of the network offering', (row) => row.displayText),
  guestiptype: f.string('the type of its networks', (row) => row.guestType),
  traffictype: f.string('the traffic its networks carry', (row) => row.trafficType),
  state: f.string('Enabled or Disabled', (row) => row.state),
  availability: f.string('Required, Optional or Unavailable', (row) => row.availability),
  isdefault: f.boolean('true for an offering that the cloud was made with', (row) => row.isDefault),
  specifyvlan: f.boolean('true if the number of a network is given by hand', (row) => row.specifyVlan),
  specifyipranges: f.boolean('true if address ranges are given for a network', (row) => row.specifyIpRanges),
  conservemode: f.boolean('true if one public address may serve several services', (row) => row.conserveMode),
  egressdefaultpolicy: f.boolean('true if guests may reach the outside by default', (row) => row.egressDefault === 'allow'),
  ispersistent: f.boolean('true if a network lives without machines in it', (row) => row.persistent),
  forvpc: f.boolean('true if it is for tiers of a VPC', (row) => row.forVpc),
  service: f.list('the services of its networks', (row) => Object.entries(row.services), serviceFields),
  serviceofferingid: f.string('the service offering of the virtual routers of its networks', (row) => row.routerOfferingId),
  created: f.date('when the offering was made', (row) => row.createdAt),
});
