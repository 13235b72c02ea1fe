import { In } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import type { Id } from '../../protocol/schema.ts';
import { apiJobStatus } from '../../protocol/states/job.ts';
import { type Caller, isRootAdmin } from '../core/context.ts';
import { shownPath } from '../core/owners.ts';
import { entityKind } from '../core/params.ts';
import { openResult } from '../core/sealed-results.ts';
import type { Secrets } from '../core/secrets.ts';
import type { Services } from '../core/services.ts';
import { type JobRow, jobs } from '../core/tables.ts';
import { type Field, f, view } from '../core/view.ts';
import { errorText } from '../core/wire.ts';

export const jobKind = entityKind<JobRow>({
  noun: 'job',
  find: (tx, id) => tx.findOneBy(jobs, { id: id as Id<'job'> }),
  removed: () => false,
  // The cloud's own jobs are nobody's: only root admins see them.
  owner: ({ accountId, domainId }) => (accountId && domainId ? { accountId, domainId } : null),
});

export interface JobShown {
  readonly id: string;
  readonly row: JobRow;
  readonly accountName: string | null;
  readonly domainPath: string | null;
  /** Present when the job has ended: what it made, or only the number and text of its error. */
  readonly result: Readonly<Record<string, unknown>> | null;
  /** 0, or the number of the error. */
  readonly resultCode: number;
}

/** `asker` decides how much an error tells. */
export async function loadJobs(
  { db: { rows, read }, secrets }: Pick<Services, 'db' | 'secrets'>,
  ids: readonly string[],
  asker: Caller,
): Promise<JobShown[]> {
  if (ids.length === 0) return [];
  const found = await read.findBy(jobs, { id: In(ids as Id<'job'>[]) });
  const owners = await rows<{ id: string; accountName: string; domainPath: string }>(
    'SELECT j.id, a.name AS accountName, d.path AS domainPath FROM job j JOIN account a ON a.id = j.account_id JOIN domain d ON d.id = j.domain_id WHERE j.id IN (?)',
    [ids],
  );
  const byId = new Map(owners.map((owner) => [owner.id, owner]));
  return found.map((row) => ({
    id: row.id,
    row,
    accountName: byId.get(row.id)?.accountName ?? null,
    domainPath: byId.get(row.id)?.domainPath ?? null,
    ...opened(secrets, outcome(row, isRootAdmin(asker)), row.accountId === asker.accountId),
  }));
}

const opened = (
  secrets: Secrets,
  { result, resultCode }: Pick<JobShown, 'result' | 'resultCode'>,
  own: boolean,
): Pick<JobShown, 'result' | 'resultCode'> => {
  const shown = openResult(secrets, result, { own });
  return { result: typeof shown === 'object' && shown !== null ? { ...shown } : null, resultCode };
};

export function outcome(
  { state, result, error }: Pick<JobRow, 'state' | 'result' | 'error'>,
  admin: boolean,
): Pick<JobShown, 'result' | 'resultCode'> {
  switch (apiJobStatus[state]) {
    case 0:
      return { result: null, resultCode: 0 };
    case 1:
      return { result: typeof result === 'object' && result !== null ? { ...result } : { success: true }, resultCode: 0 };
    case 2: {
      const told = CloudError.revive(error);
      return { result: { errorcode: told.status, errortext: errorText(told, admin) }, resultCode: told.status };
    }
  }
}

const result: Field<JobShown> = { type: 'object', about: 'what the job made, or its error', adminOnly: false, get: (job) => job.result };

export const jobView = view<JobShown>('AsyncJobResponse', 'asyncjobs', {
  jobid: f.string('the id of the job', ({ id }) => id),
  accountid: f.string('the id of the account that started it', ({ row }) => row.accountId),
  account: f.string('the account that started it', ({ accountName }) => accountName),
  domainid: f.string('the id of that domain', ({ row }) => row.domainId),
  domainpath: f.string('the path of that domain', ({ domainPath }) => (domainPath === null ? null : shownPath(domainPath))),
  userid: f.string('the user who started it', ({ row }) => row.userId),
  cmd: f.string('the command that started it', ({ row }) => row.command ?? row.saga),
  jobstatus: f.integer('0 while it runs, 1 when it is done, 2 when it failed', ({ row }) => apiJobStatus[row.state]),
  jobprocstatus: f.integer('always 0', () => 0),
  jobresultcode: f.integer('0, or the number of the error', ({ resultCode }) => resultCode),
  jobresulttype: f.string('object, when the job has ended', (job) => (job.result === null ? null : 'object')),
  jobresult: result,
  jobinstancetype: f.string('the kind of thing it is about', ({ row }) => row.instanceType),
  jobinstanceid: f.string('the thing it is about', ({ row }) => row.instanceId),
  created: f.date('when it was started', ({ row }) => row.createdAt),
  completed: f.date('when it ended', ({ row }) => row.completedAt),
});
