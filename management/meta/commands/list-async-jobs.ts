import { command, reply } from '../../core/command.ts';
import { list, ownerParams, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { jobView, loadJobs } from '../job-view.ts';

export const listAsyncJobs = command({
  name: 'listAsyncJobs',
  about: 'Lists jobs, those that run and those that have ended.',
  access: 'user',
  params: { ...pageParams, ...ownerParams, startdate: p.date('only jobs started then or later') },
  reply: reply.list(jobView),
  run: (context, params) =>
    list(context, params, {
      from: 'job t',
      where: [params.startdate === undefined ? null : where.sql('t.created_at >= ?', params.startdate)],
      keyword: ['t.command', 't.saga'],
      scope: params,
      load: (ids) => loadJobs(context, ids, context.caller),
    }),
});
