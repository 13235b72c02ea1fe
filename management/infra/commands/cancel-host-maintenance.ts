import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { hosts } from '../entities.ts';
import { hostView } from '../host-views.ts';
import { hostKind } from '../kinds.ts';
import { hostShown } from '../sagas/shown.ts';
import { moveHost } from '../states.ts';

export const cancelHostMaintenance = command({
  name: 'cancelHostMaintenance',
  about: 'Ends the maintenance of a host, or the preparation for it: it is Enabled again.',
  access: 'admin',
  event: { type: 'MAINT.CANCEL', text: 'cancelling maintenance of host', resource: 'Host' },
  params: { id: required(p.entity('the host', hostKind, 'operate')) },
  reply: reply.job(hostView),
  run: async (context, { id: { id } }) => {
    const started = await context.db.transact(async (tx) => {
      const host = await lock(tx, hosts, { id });
      if (!host || host.removedAt) throw new CloudError('NotFound', 'the host has been removed meanwhile');
      await moveHost(tx, host, 'cancel');
      return context.start(hostShown, { id }, { instance: { type: 'Host', id } }, tx);
    });
    context.wake('host');
    return started;
  },
});
