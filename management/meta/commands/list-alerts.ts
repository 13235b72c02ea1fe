import { command, reply } from '../../core/command.ts';
import { list, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { alertKind, alertView, loadAlerts } from '../history-views.ts';

export const listAlerts = command({
  name: 'listAlerts',
  about: 'Lists what operators should look at, the newest first.',
  access: 'admin',
  params: {
    ...pageParams,
    id: p.entity('only this alert', alertKind, 'list'),
    name: p.string('only alerts of this name, such as ALERT.COMPUTE.HOST'),
    type: p.string('only alerts with this number of their type', { match: /^\d{1,4}$/ }),
  },
  reply: reply.list(alertView),
  run: (context, params) =>
    list(context, params, {
      from: 'alert t',
      where: [
        where.equal('t.archived', false),
        where.equal('t.id', params.id?.id),
        where.equal('t.name', params.name),
        where.equal('t.type', params.type === undefined ? undefined : Number(params.type)),
      ],
      keyword: ['t.name', 't.description'],
      order: 't.last_sent_at DESC, t.id DESC',
      load: (ids) => loadAlerts(context.db, ids),
    }),
});
