import { CloudError } from '../../protocol/errors.ts';
import type { Context } from '../core/context.ts';
import type { Started } from '../core/jobs.ts';

/** For commands that answer when their job has ended: what it failed with is what the caller sees. */
export async function finish({ jobs }: Pick<Context, 'jobs'>, job: Started, timeoutSeconds: number): Promise<void> {
  const { state, error } = await jobs.finished(job.jobId, timeoutSeconds * 1000);
  if (state !== 'Done') throw CloudError.revive(error);
}
