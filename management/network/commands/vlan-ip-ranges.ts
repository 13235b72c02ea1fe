import { In, IsNull } from 'typeorm';
import { CloudError } from '../../../protocol/errors.ts';
import { newId } from '../../../protocol/ids.ts';
import { ip4ToNumber } from '../../../protocol/ip4.ts';
import { command, reply } from '../../core/command.ts';
import { lock, type Tx } from '../../core/db.ts';
import { list, pageParams, where } from '../../core/list.ts';
import { p, required } from '../../core/params.ts';
import {
  addressesOf,
  checkRange,
  type IpRangeRow,
  ipRangeKind,
  ipRanges,
  lockZone,
  mustBeFree,
  outside,
  type PhysicalNetworkRow,
  physicalNetworkKind,
  physicalNetworks,
  podKind,
  rangesOverlap,
  trafficTypes,
  type ZoneRow,
  zoneKind,
} from '../../infra/index.ts';
import { type PublicIpRow, publicIps } from '../entities.ts';
import { rangeView } from '../views.ts';

export const createVlanIpRange = command({
  name: 'createVlanIpRange',
  about: 'Adds a range of public addresses to a zone.',
  access: 'admin',
  event: { type: 'VLAN.IP.RANGE.CREATE', text: 'creating a range of public addresses' },
  params: {
    zoneid: p.entity('the zone', zoneKind, 'use'),
    physicalnetworkid: p.entity('the physical network; the one with public traffic when left out', physicalNetworkKind, 'use'),
    vlan: p.string('the VLAN, or untagged', { match: /^(vlan:\/\/)?(untagged|\d{1,4})$/i }),
    gateway: p.ip4('the gateway'),
    netmask: p.ip4('the netmask'),
    startip: p.ip4('the first address'),
    endip: p.ip4('the last address; the first when left out'),
    forvirtualnetwork: p.boolean('true for public addresses'),
    forsystemvms: p.boolean('true if only system VMs take addresses from it'),
  },
  reply: reply.one(rangeView, 'vlan'),
  run: (
    { db },
    {
      zoneid: zone,
      physicalnetworkid,
      vlan = 'untagged',
      gateway,
      netmask,
      startip,
      endip = startip,
      forvirtualnetwork = true,
      forsystemvms = false,
    },
  ) =>
    db.transact(async (tx) => {
      if (!zone || !gateway || !netmask || !startip || !endip)
        throw new CloudError('InvalidParameter', 'zoneid, gateway, netmask and startip are needed for a range of public addresses');
      if (!forvirtualnetwork)
        throw new CloudError('InvalidParameter', 'only ranges of public addresses can be created (forvirtualnetwork=true)');
      const number = vlan.replace(/^vlan:\/\//i, '').toLowerCase();
      if (number !== 'untagged')
        throw new CloudError(
          'InvalidParameter',
          'public traffic on a tagged VLAN is not possible yet; bring it to the hosts untagged and use vlan=untagged',
        );
      const range = checkRange({ gateway, netmask, startIp: startip, endIp: endip });
      const locked = await lockZone(tx, zone.id);
      const physical = await publicPhysicalNetwork(tx, zone, physicalnetworkid);
      await mustBeFree(tx, locked, range);
      const row = {
        id: newId('ipRange'),
        kind: 'public' as const,
        zoneId: zone.id,
        podId: null,
        physicalNetworkId: physical.id,
        vlan: number,
        gateway,
        netmask,
        startIp: startip,
        endIp: endip,
        forSystemVms: forsystemvms,
        createdAt: new Date(),
        removedAt: null,
      };
      await tx.insert(ipRanges, row);
      await addPublicAddresses(tx, row, range);
      return row;
    }),
});

async function addPublicAddresses(
  tx: Tx,
  { id, zoneId, physicalNetworkId }: Pick<IpRangeRow, 'id' | 'zoneId' | 'physicalNetworkId'>,
  range: Pick<IpRangeRow, 'startIp' | 'endIp'>,
): Promise<void> {
  const rows = addressesOf(range).map((address) => ({
    id: newId('publicIp'),
    zoneId,
    physicalNetworkId,
    ipRangeId: id,
    address,
    addressNumber: ip4ToNumber(address),
    state: 'Free' as const,
    generation: 0,
    accountId: null,
    domainId: null,
    networkId: null,
    isSourceNat: false,
    nicId: null,
    allocatedAt: null,
  }));
  for (let i = 0; i < rows.length; i += 500) await tx.insert(publicIps, rows.slice(i, i + 500));
}

export const updateVlanIpRange = command({
  name: 'updateVlanIpRange',
  about:
    'Moves the ends of a range of public addresses, or changes its gateway, netmask or use; addresses in use must not be touched by it.',
  access: 'admin',
  event: { type: 'VLAN.IP.RANGE.UPDATE', text: 'updating a range of public addresses' },
  params: {
    id: required(p.entity('the range', ipRangeKind, 'operate')),
    gateway: p.ip4('the gateway'),
    netmask: p.ip4('the netmask'),
    startip: p.ip4('the first address'),
    endip: p.ip4('the last address'),
    forsystemvms: p.boolean('true if only system VMs take addresses from it'),
  },
  reply: reply.one(rangeView, 'vlan'),
  run: ({ db }, { id: { id, zoneId }, gateway, netmask, startip, endip, forsystemvms }) =>
    db.transact(async (tx) => {
      const zone = await lockZone(tx, zoneId);
      const range = await lock(tx, ipRanges, { id });
      if (!range || range.removedAt) throw new CloudError('NotFound', 'the range has been removed meanwhile');
      if (range.kind !== 'public')
        throw new CloudError('InvalidParameter', 'this is no range of public addresses; change it with updateStorageNetworkIpRange');
      const wanted = checkRange({
        gateway: gateway ?? range.gateway,
        netmask: netmask ?? range.netmask,
        startIp: startip ?? range.startIp,
        endIp: endip ?? range.endIp,
      });
      await mustBeFree(tx, zone, wanted, id);
      const held = await tx.find(publicIps, { where: { ipRangeId: id }, lock: { mode: 'pessimistic_write' } });
      const refuse = (used: readonly PublicIpRow[], why: string): void => {
        if (used.length === 0) return;
        const some = used.slice(0, 5).map(({ address }) => address);
        throw new CloudError('InUse', `${why}: ${some.join(', ')}${used.length > 5 ? ' and others' : ''}`);
      };
      const used = held.filter(({ state }) => state !== 'Free');
      if (wanted.gateway !== range.gateway || wanted.netmask !== range.netmask)
        refuse(used, 'gateway and netmask cannot change while addresses of the range are in use');
      const lost = outside(range, wanted);
      const isLost = ({ address }: PublicIpRow) => lost.some((part) => rangesOverlap(part, { startIp: address, endIp: address }));
      refuse(used.filter(isLost), 'addresses that the range would lose are in use');
      if (forsystemvms && !range.forSystemVms)
        refuse(
          used.filter(({ networkId }) => networkId !== null),
          'networks of tenants use addresses of the range',
        );
      const gone = held.filter(isLost).map((each) => each.id);
      for (let i = 0; i < gone.length; i += 500) await tx.delete(publicIps, { id: In(gone.slice(i, i + 500)) });
      for (const gained of outside(wanted, range)) await addPublicAddresses(tx, range, gained);
      const changes = {
        gateway: wanted.gateway,
        netmask: wanted.netmask,
        startIp: wanted.startIp,
        endIp: wanted.endIp,
        forSystemVms: forsystemvms ?? range.forSystemVms,
      };
      await tx.update(ipRanges, { id }, changes);
      return { ...range, ...changes };
    }),
});

/** The physical network that was named, if it carries public traffic, or else the one of the zone that does. */
async function publicPhysicalNetwork(tx: Tx, { id: zoneId, name }: ZoneRow, given: PhysicalNetworkRow | undefined) {
  const ofZone = await tx.find(physicalNetworks, { where: { zoneId, removedAt: IsNull() } });
  if (given && !ofZone.some(({ id }) => id === given.id))
    throw new CloudError('InvalidParameter', `the physical network ${given.name} is not in the zone ${name}`);
  for (const physical of given ? [given] : ofZone) {
    if ((await tx.countBy(trafficTypes, { physicalNetworkId: physical.id, trafficType: 'Public', removedAt: IsNull() })) > 0)
      return physical;
  }
  throw new CloudError(
    'InvalidParameter',
    `${given ? `the physical network ${given.name} does not carry` : 'no physical network of the zone carries'} public traffic; add it with addTrafficType`,
  );
}

export const listVlanIpRanges = command({
  name: 'listVlanIpRanges',
  about: 'Lists ranges of public addresses.',
  access: 'admin',
  params: {
    ...pageParams,
    id: p.entity('the range of this id', ipRangeKind, 'list'),
    zoneid: p.entity('ranges of this zone', zoneKind, 'list'),
    podid: p.entity('ranges of this pod', podKind, 'list'),
    physicalnetworkid: p.entity('ranges on this physical network', physicalNetworkKind, 'list'),
    vlan: p.string('ranges of this VLAN'),
    forvirtualnetwork: p.boolean('true for public addresses'),
  },
  reply: reply.list(rangeView),
  run: (context, params) =>
    list(context, params, {
      from: 'ip_range t',
      where: [
        where.sql("t.removed_at IS NULL AND t.kind = 'public'"),
        where.equal('t.id', params.id?.id),
        where.equal('t.zone_id', params.zoneid?.id),
        where.equal('t.pod_id', params.podid?.id),
        where.equal('t.physical_network_id', params.physicalnetworkid?.id),
        where.equal('t.vlan', params.vlan?.replace(/^vlan:\/\//i, '').toLowerCase()),
        params.forvirtualnetwork === false ? where.sql('FALSE') : null,
      ],
      keyword: ['t.start_ip', 't.end_ip', 't.vlan'],
      load: (ids) => context.db.read.find(ipRanges, { where: ids.map((id) => ({ id: id as never })) }),
    }),
});

export const deleteVlanIpRange = command({
  name: 'deleteVlanIpRange',
  about: 'Removes a range of public addresses of which none is in use.',
  access: 'admin',
  event: { type: 'VLAN.IP.RANGE.DELETE', text: 'deleting a range of public addresses' },
  params: { id: required(p.entity('the range', ipRangeKind, 'operate')) },
  reply: reply.success(),
  run: ({ db }, { id: range }) =>
    db.transact(async (tx) => {
      if (range.kind !== 'public') throw new CloudError('InvalidParameter', 'this is no range of public addresses');
      await tx.query('SELECT id FROM public_ip WHERE ip_range_id = ? FOR UPDATE', [range.id]);
      const used = await tx.query("SELECT address FROM public_ip WHERE ip_range_id = ? AND state <> 'Free' LIMIT 5", [range.id]);
      if (used.length > 0)
        throw new CloudError(
          'InUse',
          `addresses of the range are in use: ${used.map(({ address }: { address: string }) => address).join(', ')}`,
        );
      await tx.delete(publicIps, { ipRangeId: range.id });
      await tx.update(ipRanges, { id: range.id }, { removedAt: new Date() });
    }),
});
