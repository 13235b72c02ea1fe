import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { jobKind, jobView, loadJobs } from '../job-view.ts';

export const queryAsyncJobResult = command({
  name: 'queryAsyncJobResult',
  about: 'Tells how far a job is, and when it has ended what came of it.',
  access: 'user',
  params: { jobid: required(p.entity('the job', jobKind, 'list')) },
  reply: reply.flat(jobView),
  run: async (context, { jobid }) => {
    const [shown] = await loadJobs(context, [jobid.id], context.caller);
    if (!shown) throw new CloudError('NotFound', 'the job is gone', { id: jobid.id });
    return shown;
  },
});
