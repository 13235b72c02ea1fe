import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { type Blocker, mustBeEmpty } from '../blockers.ts';
import { type TrafficTypeRow, trafficTypes } from '../entities.ts';
import { trafficTypeKind } from '../kinds.ts';
import { removed } from '../sagas/shown.ts';

export const deleteTrafficType = command({
  name: 'deleteTrafficType',
  about: 'Takes a type of traffic from a physical network, when nothing uses it any more.',
  access: 'admin',
  event: { type: 'TRAFFIC.TYPE.DELETE', text: 'deleting traffic type' },
  params: { id: required(p.entity('the traffic type', trafficTypeKind, 'operate')) },
  reply: reply.job(null),
  run: (context, { id: { id } }) =>
    context.db.transact(async (tx) => {
      const row = await lock(tx, trafficTypes, { id });
      if (!row || row.removedAt) throw new CloudError('NotFound', 'the traffic type has been removed meanwhile');
      await mustBeEmpty(tx, `the traffic type ${row.trafficType}`, blockersOf(row));
      await tx.update(trafficTypes, { id }, { removedAt: new Date() });
      return context.start(removed, { id }, { instance: { type: 'TrafficType', id } }, tx);
    }),
});

function blockersOf({ trafficType, physicalNetworkId }: TrafficTypeRow): Blocker[] {
  const values = [physicalNetworkId];
  const ranges = (kind: string) =>
    `SELECT COUNT(*) AS n FROM ip_range WHERE physical_network_id = ? AND removed_at IS NULL AND kind = '${kind}'`;
  switch (trafficType) {
    case 'Guest':
      return [
        {
          one: 'guest network',
          many: 'guest networks',
          sql: 'SELECT COUNT(*) AS n FROM network WHERE physical_network_id = ? AND removed_at IS NULL',
          values,
        },
      ];
    case 'Public':
      return [{ one: 'range of public addresses', many: 'ranges of public addresses', sql: ranges('public'), values }];
    case 'Storage':
      return [{ one: 'range of storage addresses', many: 'ranges of storage addresses', sql: ranges('storage'), values }];
    case 'Management':
      return [
        {
          one: 'host that uses it',
          many: 'hosts that use it',
          sql: `SELECT COUNT(*) AS n FROM host h JOIN physical_network n ON n.zone_id = h.zone_id WHERE n.id = ? AND h.removed_at IS NULL`,
          values,
        },
      ];
    case 'Control':
      return [];
  }
}
