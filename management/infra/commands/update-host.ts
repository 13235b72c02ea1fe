import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { hosts } from '../entities.ts';
import { hostView, loadHosts } from '../host-views.ts';
import { hostKind } from '../kinds.ts';
import { moveHost } from '../states.ts';
import { one } from '../views.ts';
import { hostTagsParam, readHostTags } from './host-params.ts';

export const updateHost = command({
  name: 'updateHost',
  about: 'Changes the name or tags of a host, or enables and disables it.',
  access: 'admin',
  event: { type: 'HOST.UPDATE', text: 'updating host', resource: 'Host' },
  params: {
    id: required(p.entity('the host', hostKind, 'operate')),
    name: p.string('new name'),
    allocationstate: p.word('Enable, or Disable: it takes no more machines', ['Enable', 'Disable']),
    hosttags: hostTagsParam(),
  },
  reply: reply.one(hostView),
  run: async (context, { id: { id }, name, allocationstate, hosttags }) => {
    await context.db.transact(async (tx) => {
      const host = await lock(tx, hosts, { id });
      if (!host || host.removedAt) throw new CloudError('NotFound', 'the host has been removed meanwhile');
      if (name !== undefined) await tx.update(hosts, { id }, { name });
      if (hosttags !== undefined) await tx.update(hosts, { id }, { tags: readHostTags(hosttags).join(',') || null });
      const wanted = allocationstate === 'Enable' ? 'Enabled' : 'Disabled';
      if (allocationstate !== undefined && wanted !== host.resourceState) {
        if (host.resourceState !== 'Enabled' && host.resourceState !== 'Disabled')
          throw new CloudError(
            'WrongState',
            `the host ${host.name} is ${host.resourceState}; only an Enabled or Disabled one can be changed so`,
          );
        await moveHost(tx, host, wanted === 'Enabled' ? 'enable' : 'disable');
      }
    });
    context.wake('host');
    return one(await loadHosts(context, [id]));
  },
});
