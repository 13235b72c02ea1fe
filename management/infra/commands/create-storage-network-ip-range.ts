import { CloudError } from '../../../protocol/errors.ts';
import { newId } from '../../../protocol/ids.ts';
import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { addPrivateAddresses } from '../addresses.ts';
import { ipRanges, zones } from '../entities.ts';
import { podKind } from '../kinds.ts';
import { checkRange, mustBeFree } from '../ranges.ts';
import { storageRangeShown } from '../sagas/shown.ts';
import { storageRangeView } from '../views.ts';

export const createStorageNetworkIpRange = command({
  name: 'createStorageNetworkIpRange',
  about: 'Adds a range of storage addresses to a pod: its secondary storage VMs get a NIC of their own for storage.',
  access: 'admin',
  event: { type: 'STORAGE.IP.RANGE.CREATE', text: 'creating storage network IP range' },
  params: {
    podid: required(p.entity('the pod', podKind, 'operate')),
    gateway: required(p.ip4('gateway of the storage network')),
    netmask: required(p.ip4('netmask of the storage network')),
    startip: required(p.ip4('first address')),
    endip: p.ip4('last address; to the end of the network unless given'),
  },
  reply: reply.job(storageRangeView),
  run: (context, { podid: pod, gateway, netmask, startip, endip }) => {
    const range = checkRange({ gateway, netmask, startIp: startip, endIp: endip });
    const id = newId('ipRange');
    return context.db.transact(async (tx) => {
      const zone = await lock(tx, zones, { id: pod.zoneId });
      if (!zone || zone.removedAt) throw new CloudError('NotFound', 'the zone has been removed meanwhile');
      const [network] = await tx.query(
        `SELECT n.id AS id FROM physical_network n JOIN traffic_type t ON t.physical_network_id = n.id
          WHERE n.zone_id = ? AND n.removed_at IS NULL AND t.removed_at IS NULL AND t.traffic_type = 'Storage' LIMIT 1`,
        [zone.id],
      );
      if (!network)
        throw new CloudError(
          'InvalidParameter',
          `no physical network of the zone ${zone.name} carries Storage traffic; add that first with addTrafficType`,
        );
      await mustBeFree(tx, zone, range);
      await tx.insert(ipRanges, {
        id,
        kind: 'storage',
        zoneId: zone.id,
        podId: pod.id,
        physicalNetworkId: network.id,
        vlan: 'untagged',
        gateway,
        netmask,
        startIp: range.startIp,
        endIp: range.endIp,
        forSystemVms: true,
        createdAt: new Date(),
        removedAt: null,
      });
      await addPrivateAddresses(tx, { kind: 'storage', zoneId: zone.id, scopeId: id }, range);
      return context.start(storageRangeShown, { id }, { instance: { type: 'StorageNetworkIpRange', id } }, tx);
    });
  },
});
