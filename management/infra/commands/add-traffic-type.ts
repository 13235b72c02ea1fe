import { CloudError } from '../../../protocol/errors.ts';
import { newId } from '../../../protocol/ids.ts';
import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { physicalNetworks, trafficTypes, zones } from '../entities.ts';
import { physicalNetworkKind } from '../kinds.ts';
import { trafficTypeShown } from '../sagas/shown.ts';
import { trafficTypeView } from '../views.ts';
import { bridgeParam } from './bridge-params.ts';

export const addTrafficType = command({
  name: 'addTrafficType',
  about: 'Lets a physical network carry a type of traffic.',
  access: 'admin',
  event: { type: 'TRAFFIC.TYPE.CREATE', text: 'creating traffic type' },
  params: {
    physicalnetworkid: required(p.entity('the physical network', physicalNetworkKind, 'operate')),
    traffictype: required(p.word('Public, Guest, Management or Storage', ['Public', 'Guest', 'Management', 'Storage'])),
    kvmnetworklabel: bridgeParam(),
  },
  reply: reply.job(trafficTypeView, { create: true }),
  run: (context, { physicalnetworkid: { id: physicalNetworkId, zoneId }, traffictype, kvmnetworklabel }) => {
    const id = newId('trafficType');
    return context.db.transact(async (tx) => {
      await lock(tx, zones, { id: zoneId });
      const network = await lock(tx, physicalNetworks, { id: physicalNetworkId });
      if (!network || network.removedAt) throw new CloudError('NotFound', 'the physical network has been removed meanwhile');
      const [known] = await tx.query(
        `SELECT n.id AS id, n.name AS name FROM traffic_type t JOIN physical_network n ON n.id = t.physical_network_id
          WHERE n.zone_id = ? AND t.traffic_type = ? AND t.removed_at IS NULL AND n.removed_at IS NULL ORDER BY n.id = ? DESC LIMIT 1`,
        [zoneId, traffictype, physicalNetworkId],
      );
      // Guest networks may be spread over several physical networks; all other traffic is found by its type alone.
      if (known && (traffictype !== 'Guest' || known.id === physicalNetworkId))
        throw new CloudError('InvalidParameter', `the physical network ${known.name} of this zone carries ${traffictype} traffic already`);
      await tx.insert(trafficTypes, {
        id,
        physicalNetworkId,
        trafficType: traffictype,
        kvmNetworkLabel: kvmnetworklabel ?? null,
        createdAt: new Date(),
        removedAt: null,
      });
      return { ...(await context.start(trafficTypeShown, { id }, { instance: { type: 'TrafficType', id } }, tx)), id };
    });
  },
});
