import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { trafficTypes } from '../entities.ts';
import { trafficTypeKind } from '../kinds.ts';
import { trafficTypeShown } from '../sagas/shown.ts';
import { trafficTypeView } from '../views.ts';
import { bridgeParam } from './bridge-params.ts';

export const updateTrafficType = command({
  name: 'updateTrafficType',
  about: 'Changes which bridge carries a type of traffic. It counts for machines that are started afterwards.',
  access: 'admin',
  event: { type: 'TRAFFIC.TYPE.UPDATE', text: 'updating traffic type' },
  params: { id: required(p.entity('the traffic type', trafficTypeKind, 'operate')), kvmnetworklabel: bridgeParam() },
  reply: reply.job(trafficTypeView),
  run: (context, { id: { id }, kvmnetworklabel }) =>
    context.db.transact(async (tx) => {
      const row = await lock(tx, trafficTypes, { id });
      if (!row || row.removedAt) throw new CloudError('NotFound', 'the traffic type has been removed meanwhile');
      if (kvmnetworklabel !== undefined) await tx.update(trafficTypes, { id }, { kvmNetworkLabel: kvmnetworklabel || null });
      return context.start(trafficTypeShown, { id }, { instance: { type: 'TrafficType', id } }, tx);
    }),
});
