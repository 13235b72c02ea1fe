import { In } from 'typeorm';
import { cidrOf, prefixOfNetmask } from '../../protocol/ip4.ts';
import type { Id } from '../../protocol/schema.ts';
import type { Database } from '../core/db.ts';
import { shownPath } from '../core/owners.ts';
import { entityKind } from '../core/params.ts';
import { type Fields, f, view } from '../core/view.ts';
import type { NetworkServiceName } from '../offering/index.ts';
import { type NetworkRow, type NicRow, networks, type PublicIpRow, publicIps } from './entities.ts';

export const networkKind = entityKind<NetworkRow>({
  noun: 'network',
  find: (tx, id) => tx.findOneBy(networks, { id: id as Id<'network'> }),
  removed: ({ removedAt }) => removedAt !== null,
  owner: (row) => row,
});
export const publicIpKind = entityKind<PublicIpRow>({
  noun: 'public IP address',
  find: (tx, id) => tx.findOneBy(publicIps, { id: id as Id<'publicIp'> }),
  removed: () => false,
  owner: ({ accountId, domainId }) => (accountId && domainId ? { accountId, domainId } : null),
});

export type NetworkShown = NetworkRow & {
  accountName: string;
  domainName: string;
  domainPath: string;
  zoneName: string;
  offeringName: string;
  offeringText: string;
  offeringAvailability: string;
  offeringConserves: boolean;
  egressDefault: 'allow' | 'deny';
  isPersistent: boolean;
  services: Partial<Record<NetworkServiceName, string>>;
};

const providerFields: Fields<string> = { name: f.string('name of the provider', (name) => name) };
const serviceFields: Fields<[string, string]> = {
  name: f.string('name of the service', ([name]) => name),
  provider: f.list('who provides it', ([, provider]) => [provider], providerFields),
};

export const networkView = view<NetworkShown>('NetworkResponse', 'network', {
  id: f.string('the id of the network', (row) => row.id),
  name: f.string('the name of the network', (row) => row.name),
  displaytext: f.string('the display text of the network', (row) => row.displayText),
  traffictype: f.string('the traffic type of the network', () => 'Guest'),
  gateway: f.string("the network's gateway", (row) => row.gateway),
  netmask: f.string("the network's netmask", (row) => row.netmask),
  cidr: f.string("the network's addresses", (row) => row.cidr),
  zoneid: f.string('zone id of the network', (row) => row.zoneId),
  zonename: f.string('the name of the zone', (row) => row.zoneName),
  networkofferingid: f.string('network offering id', (row) => row.networkOfferingId),
  networkofferingname: f.string('name of the network offering', (row) => row.offeringName),
  networkofferingdisplaytext: f.string('display text of the network offering', (row) => row.offeringText),
  networkofferingavailability: f.string('availability of the network offering', (row) => row.offeringAvailability),
  networkofferingconservemode: f.boolean('true if the offering is in conserve mode', (row) => row.offeringConserves),
  egressdefaultpolicy: f.boolean('true if guests may reach the outside by default', (row) => row.egressDefault === 'allow'),
  issystem: f.boolean('true if the network is one of the cloud itself', () => false),
  isdefault: f.boolean('true if it is a default network', () => false),
  ispersistent: f.boolean('true if the network lives without machines in it', (row) => row.isPersistent),
  state: f.string('state of the network', (row) => row.state),
  related: f.string('related to what other network', (row) => row.id),
  broadcasturi: f.string('broadcast URI, with the VXLAN number', (row) => (row.vni === null ? null : `vxlan://${row.vni}`), {
    adminOnly: true,
  }),
  broadcastdomaintype: f.string('how the network is kept apart', () => 'Vxlan'),
  vlan: f.string('the number of the network on the wire', (row) => (row.vni === null ? null : String(row.vni)), { adminOnly: true }),
  dns1: f.string('the first DNS of the network', (row) => row.dns1),
  dns2: f.string('the second DNS of the network', (row) => row.dns2),
  type: f.string('the type of the network', (row) => row.guestType),
  acltype: f.string('who may use it: Account or Domain', () => 'Account'),
  account: f.string('the owner of the network', (row) => row.accountName),
  domainid: f.string('the domain id of the owner', (row) => row.domainId),
  domain: f.string('the domain name of the owner', (row) => row.domainName),
  domainpath: f.string('path of the domain', (row) => shownPath(row.domainPath)),
  physicalnetworkid: f.string('the physical network id', (row) => row.physicalNetworkId),
  networkdomain: f.string('the DNS domain of the network', (row) => row.networkDomain),
  restartrequired: f.boolean('true if the network needs a restart', (row) => row.restartRequired),
  specifyipranges: f.boolean('true if address ranges are given for it', () => false),
  specifyvlan: f.boolean('true if its number is given by hand', () => false),
  canusefordeploy: f.boolean('true if machines can be deployed in it', () => true),
  subdomainaccess: f.boolean('true if users of subdomains may use it', () => false),
  strechedl2subnet: f.boolean('true if it spans zones', () => false),
  redundantrouter: f.boolean('true if it has a pair of routers', () => false),
  displaynetwork: f.boolean('true if it is shown to its owner', () => true, { adminOnly: true }),
  privatemtu: f.integer('MTU inside the network', (row) => row.mtu),
  service: f.list('the services of the network', (row) => Object.entries(row.services), serviceFields),
  created: f.date('when the network was made', (row) => row.createdAt),
});

export async function loadNetworks({ rows, read }: Pick<Database, 'rows' | 'read'>, ids: readonly string[]): Promise<NetworkShown[]> {
  if (ids.length === 0) return [];
  const found = await read.findBy(networks, { id: In([...ids]) });
  const more = await rows<
    Omit<NetworkShown, keyof NetworkRow | 'services' | 'offeringConserves' | 'isPersistent'> & {
      id: string;
      services: string;
      offeringConserves: number;
      isPersistent: number;
    }
  >(
    `SELECT n.id AS id, a.name AS accountName, d.name AS domainName, d.path AS domainPath, z.name AS zoneName, o.name AS offeringName, o.display_text AS offeringText,
            o.availability AS offeringAvailability, o.conserve_mode AS offeringConserves, o.egress_default AS egressDefault, o.persistent AS isPersistent, o.services AS services
       FROM network n JOIN account a ON a.id = n.account_id JOIN domain d ON d.id = n.domain_id JOIN zone z ON z.id = n.zone_id JOIN network_offering o ON o.id = n.network_offering_id
      WHERE n.id IN (?)`,
    [ids],
  );
  const byId = new Map(more.map((row) => [row.id, row]));
  return found.flatMap((row) => {
    const about = byId.get(row.id);
    return about
      ? [
          {
            ...about,
            ...row,
            offeringConserves: Boolean(about.offeringConserves),
            isPersistent: Boolean(about.isPersistent),
            services: JSON.parse(about.services),
          },
        ]
      : [];
  });
}

export type NicShown = NicRow & { networkName: string | null; vni: number | null; mtu: number | null };
export const nicFields: Fields<NicShown> = {
  id: f.string('the id of the NIC', (row) => row.id),
  networkid: f.string('the id of its network', (row) => row.networkId),
  networkname: f.string('the name of its network', (row) => row.networkName),
  netmask: f.string('its netmask', (row) => row.netmask),
  gateway: f.string('its gateway', (row) => row.gateway),
  ipaddress: f.string('its address', (row) => row.address),
  traffictype: f.string('its traffic type', (row) => `${row.role[0]?.toUpperCase()}${row.role.slice(1)}`),
  type: f.string('type of its network', (row) => (row.role === 'guest' ? 'Isolated' : null)),
  isdefault: f.boolean('true if it is the default NIC', (row) => row.isDefault),
  macaddress: f.string('its MAC address', (row) => row.mac),
  deviceid: f.string('its position in the machine', (row) => String(row.device)),
  virtualmachineid: f.string('the id of the machine', (row) => row.machineId),
  broadcasturi: f.string('broadcast URI, with the VXLAN number', (row) => (row.vni === null ? null : `vxlan://${row.vni}`), {
    adminOnly: true,
  }),
  isolationuri: f.string('isolation URI, with the VXLAN number', (row) => (row.vni === null ? null : `vxlan://${row.vni}`), {
    adminOnly: true,
  }),
  mtu: f.integer('MTU of the NIC', (row) => row.mtu),
};
export const nicView = view<NicShown>('NicResponse', 'nic', nicFields);

/** NICs of these machines that are not removed, in order of device. */
export async function nicsOf({ rows }: Pick<Database, 'rows'>, machineIds: readonly string[]): Promise<NicShown[]> {
  if (machineIds.length === 0) return [];
  const found = await rows<NicShown & { isDefault: number | boolean }>(
    `SELECT c.id AS id, c.machine_id AS machineId, c.zone_id AS zoneId, c.role AS role, c.network_id AS networkId, c.device AS device, c.is_default AS isDefault, c.mac AS mac,
            c.address AS address, c.netmask AS netmask, c.gateway AS gateway, c.state AS state, c.generation AS generation, c.created_at AS createdAt, c.removed_at AS removedAt,
            n.name AS networkName, n.vni AS vni, n.mtu AS mtu
       FROM nic c LEFT JOIN network n ON n.id = c.network_id WHERE c.machine_id IN (?) AND c.removed_at IS NULL ORDER BY c.device`,
    [machineIds],
  );
  return found.map((row) => ({ ...row, isDefault: Boolean(row.isDefault) }));
}

export type PublicIpShown = PublicIpRow & {
  accountName: string | null;
  domainName: string | null;
  domainPath: string | null;
  zoneName: string;
  networkName: string | null;
  vlan: string;
  forSystemVms: boolean;
};
export const publicIpView = view<PublicIpShown>('IPAddressResponse', 'publicipaddress', {
  id: f.string('the id of the public address', (row) => row.id),
  ipaddress: f.string('the public address', (row) => row.address),
  allocated: f.date('when it was acquired', (row) => row.allocatedAt),
  zoneid: f.string('the id of its zone', (row) => row.zoneId),
  zonename: f.string('the name of its zone', (row) => row.zoneName),
  issourcenat: f.boolean('true if it is a source NAT address', (row) => row.isSourceNat),
  isstaticnat: f.boolean('true if it is for static NAT', () => false),
  issystem: f.boolean('true if it belongs to a system VM', (row) => row.nicId !== null),
  isportable: f.boolean('true if it can be moved between zones', () => false),
  account: f.string('the account it belongs to', (row) => row.accountName),
  domainid: f.string('the domain id it belongs to', (row) => row.domainId),
  domain: f.string('the domain it belongs to', (row) => row.domainName),
  domainpath: f.string('path of the domain', (row) => (row.domainPath === null ? null : shownPath(row.domainPath))),
  forvirtualnetwork: f.boolean('true for a public address', () => true),
  forsystemvms: f.boolean('true if its range is for system VMs', (row) => row.forSystemVms, { adminOnly: true }),
  vlanid: f.string('the id of its range', (row) => row.ipRangeId, { adminOnly: true }),
  vlanname: f.string('the VLAN of its range', (row) => row.vlan, { adminOnly: true }),
  associatednetworkid: f.string('the network it serves', (row) => row.networkId),
  associatednetworkname: f.string('the name of the network it serves', (row) => row.networkName),
  physicalnetworkid: f.string('the physical network', (row) => row.physicalNetworkId),
  state: f.string('its state', (row) => row.state),
  fordisplay: f.boolean('true if it is shown to its owner', () => true, { adminOnly: true }),
});

export async function loadPublicIps({ rows, read }: Pick<Database, 'rows' | 'read'>, ids: readonly string[]): Promise<PublicIpShown[]> {
  if (ids.length === 0) return [];
  const found = await read.findBy(publicIps, { id: In([...ids]) });
  const more = await rows<Omit<PublicIpShown, keyof PublicIpRow> & { id: string }>(
    `SELECT p.id AS id, a.name AS accountName, d.name AS domainName, d.path AS domainPath, z.name AS zoneName, n.name AS networkName, r.vlan AS vlan, r.for_system_vms AS forSystemVms
       FROM public_ip p JOIN zone z ON z.id = p.zone_id JOIN ip_range r ON r.id = p.ip_range_id LEFT JOIN account a ON a.id = p.account_id LEFT JOIN domain d ON d.id = p.domain_id
       LEFT JOIN network n ON n.id = p.network_id WHERE p.id IN (?)`,
    [ids],
  );
  const byId = new Map(more.map((row) => [row.id, row]));
  return found.flatMap((row) => {
    const about = byId.get(row.id);
    return about ? [{ ...about, ...row, forSystemVms: Boolean(about.forSystemVms) }] : [];
  });
}

export interface RangeShown {
  readonly id: string;
  readonly zoneId: string;
  readonly podId: string | null;
  readonly physicalNetworkId: string;
  readonly vlan: string;
  readonly gateway: string;
  readonly netmask: string;
  readonly startIp: string;
  readonly endIp: string;
  readonly forSystemVms: boolean;
}
export const rangeView = view<RangeShown>('VlanIpRangeResponse', 'vlaniprange', {
  id: f.string('the id of the range', (row) => row.id),
  forvirtualnetwork: f.boolean('true for public addresses', () => true),
  zoneid: f.string('the zone', (row) => row.zoneId),
  vlan: f.string('the number or URI of the VLAN', (row) => (row.vlan === 'untagged' ? 'vlan://untagged' : row.vlan)),
  podid: f.string('the pod', (row) => row.podId),
  gateway: f.string('the gateway', (row) => row.gateway),
  netmask: f.string('the netmask', (row) => row.netmask),
  cidr: f.string('the network of the range', (row) => cidrOf(row.gateway, prefixOfNetmask(row.netmask))),
  startip: f.string('the first address', (row) => row.startIp),
  endip: f.string('the last address', (row) => row.endIp),
  physicalnetworkid: f.string('the physical network', (row) => row.physicalNetworkId),
  forsystemvms: f.boolean('true if it is only for system VMs', (row) => row.forSystemVms),
});
