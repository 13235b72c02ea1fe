import { command, reply } from '../../core/command.ts';
import { list, ownerParams, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { eventLevels, eventStates } from '../../core/tables.ts';
import { eventKind, eventView, loadEvents } from '../history-views.ts';

export const listEvents = command({
  name: 'listEvents',
  about: 'Lists events, the newest first.',
  access: 'user',
  params: {
    ...pageParams,
    ...ownerParams,
    id: p.entity('only this event', eventKind, 'list'),
    type: p.string('only events of this type'),
    level: p.word('only events of this level', eventLevels),
    state: p.word('only events in this state', eventStates),
    startdate: p.date('only events from then on'),
    enddate: p.date('only events until then', { endOfDay: true }),
    startid: p.entity('the event that began something, and those that followed from it', eventKind, 'list'),
    resourcetype: p.string('only events about this kind of thing'),
    resourceid: p.string('only events about this thing'),
    archived: p.boolean('also events that were put away'),
  },
  reply: reply.list(eventView),
  run: (context, params) =>
    list(context, params, {
      from: 'event t',
      where: [
        params.archived ? null : where.equal('t.archived', false),
        where.equal('t.id', params.id?.id),
        where.equal('t.type', params.type),
        where.equal('t.level', params.level),
        where.equal('t.state', params.state),
        params.startdate === undefined ? null : where.sql('t.created_at >= ?', params.startdate),
        params.enddate === undefined ? null : where.sql('t.created_at <= ?', params.enddate),
        params.startid === undefined ? null : where.sql('(t.id = ? OR t.start_event_id = ?)', params.startid.id, params.startid.id),
        params.resourcetype === undefined ? null : where.sql('LOWER(t.resource_type) = ?', params.resourcetype.toLowerCase()),
        where.equal('t.resource_id', params.resourceid),
      ],
      keyword: ['t.type', 't.description', 't.level'],
      scope: { ...params, byId: params.id !== undefined },
      order: 't.created_at DESC, t.id DESC',
      load: (ids) => loadEvents(context.db, ids),
    }),
});
