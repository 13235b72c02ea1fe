/**
 * Jobs: rows in MySQL, woken by Bull. The row is the truth; Bull carries only the id and may lose or repeat it. A worker owns a job by
 * a lease with an epoch; when the lease runs out another worker takes the job over and the first can commit nothing more.
 */
import { randomBytes } from 'node:crypto';
import Bull from 'bull';
import { CloudError } from '../../protocol/errors.ts';
import { newId } from '../../protocol/ids.ts';
import type { Log } from '../../protocol/log.ts';
import type { Id } from '../../protocol/schema.ts';
import type { Config } from '../config.ts';
import type { Caller } from './context.ts';
import type { Database, Tx } from './db.ts';
import { raiseAlert, writeEvent } from './events.ts';
import { type AnySaga, execute, isOutage, type Probe, type Saga, type StepContext, Stop, UnwindFailed } from './saga.ts';
import type { Services } from './services.ts';
import { type JobRow, jobs as jobTable } from './tables.ts';

const LEASE_SECONDS = 15;
const SCAN_MS = 2000;
const UNWIND_ATTEMPTS_MAX = 60;

export interface StartOptions {
  /** API command, for listAsyncJobs. */
  readonly command?: string;
  readonly caller?: Caller;
  readonly requestId: string;
  /** It is begun no earlier than then; at once where not given. */
  readonly notBefore?: Date;
  /** What the job is about: jobinstancetype and jobinstanceid. */
  readonly instance?: { readonly type: string; readonly id: string };
  readonly event?: { readonly type: string; readonly text: string };
}
export interface Started {
  readonly jobId: Id<'job'>;
}

export interface Jobs {
  /** Writes the job row and its «scheduled» event in `tx`; call `ring` when that has committed. */
  add: <I>(tx: Tx, saga: Saga<I, unknown>, input: I, options: StartOptions) => Promise<Started>;
  /** In a transaction of its own, and rings. */
  start: <I>(saga: Saga<I, unknown>, input: I, options: StartOptions) => Promise<Started>;
  ring: (job: Started) => void;
  /** Waits until the job has ended; for the cloud's own work and tests. */
  finished: (jobId: Id<'job'>, timeoutMs: number) => Promise<JobRow>;
  running: () => number;
  listen: (services: Services) => void;
  close: () => Promise<void>;
}

export function openJobs({
  config,
  db,
  log,
  sagas,
  serverId,
  probe,
}: {
  config: Pick<Config, 'redis' | 'workers'>;
  db: Database;
  log: Log;
  sagas: readonly AnySaga[];
  serverId: Id<'managementServer'>;
  probe?: Probe;
}): Jobs {
  // One for each start: with the number of the process alone, a server in a container would take its predecessor for itself.
  const workerId = `${serverId}/${randomBytes(8).toString('hex')}`;
  const byName = new Map(sagas.map((each) => [each.name, each]));
  const mine = new Map<Id<'job'>, { epoch: number; isLong: boolean; done: Promise<void> }>();
  const longSagas = sagas.filter(({ mayTakeHours }) => mayTakeHours).map(({ name }) => name);
  const longMax = Math.max(1, Math.floor(config.workers / 2));
  const noMoreLong = () => [...mine.values()].filter(({ isLong }) => isLong).length >= longMax;
  let services: Services | null = null;
  let stopping = false;
  let timers: NodeJS.Timeout[] = [];
  const bell = openBell(config.redis, log);

  const ring = ({ jobId }: Started) => {
    bell.ring(jobId);
    // The bell may be away; this server at least hears itself.
    setImmediate(() => void tryRun(jobId));
  };

  const add: Jobs['add'] = async (tx, { name, version }, input, { command = null, caller, requestId, notBefore, instance, event }) => {
    const id = newId('job');
    const startEventId =
      event && caller
        ? await writeEvent(tx, {
            type: event.type,
            state: 'Scheduled',
            description: event.text,
            caller,
            ...(instance ? { resource: instance } : {}),
          })
        : null;
    await tx.insert(jobTable, {
      id,
      saga: name,
      sagaVersion: version,
      command,
      input: input as never,
      state: 'Queued',
      epoch: 0,
      step: null,
      userId: caller?.userId ?? null,
      accountId: caller?.accountId ?? null,
      domainId: caller?.domainId ?? null,
      requestId,
      instanceType: instance?.type ?? null,
      instanceId: instance?.id ?? null,
      eventType: event?.type ?? null,
      eventText: event?.text ?? null,
      startEventId,
      attempts: 0,
      createdAt: new Date(),
      retryAt: notBefore ?? null,
    });
    return { jobId: id };
  };

  /** Takes the job when nobody holds it. At most one worker gets it. */
  async function claim(jobId: Id<'job'>): Promise<JobRow | null> {
    return db.transact(async (tx) => {
      const row = await tx.findOne(jobTable, { where: { id: jobId }, lock: { mode: 'pessimistic_write' } });
      const now = Date.now();
      if (!row || !['Queued', 'Running', 'Unwinding'].includes(row.state)) return null;
      if (row.leaseUntil && row.leaseUntil.getTime() > now && row.workerId !== null) return null;
      if (row.retryAt && row.retryAt.getTime() > now) return null;
      const isLong = longSagas.includes(row.saga);
      const place = mine.get(jobId);
      if (!place || (isLong && noMoreLong())) return null;
      // Before anything is waited for, so that of those who look at the same time not all find the last place free.
      mine.set(jobId, { ...place, isLong });
      const changes = {
        epoch: row.epoch + 1,
        workerId,
        leaseUntil: new Date(now + LEASE_SECONDS * 1000),
        state: row.state === 'Queued' ? ('Running' as const) : row.state,
        startedAt: row.startedAt ?? new Date(now),
        attempts: row.attempts + 1,
        retryAt: null,
      };
      await tx.update(jobTable, { id: jobId }, changes);
      if (row.state === 'Queued') await jobEvent(tx, row, 'Started', 'INFO', row.eventText ?? '');
      return { ...row, ...changes };
    });
  }

  async function tryRun(jobId: Id<'job'>): Promise<void> {
    if (stopping || !services || mine.has(jobId) || mine.size >= config.workers) return;
    let release = () => {};
    const done = new Promise<void>((resolve) => {
      release = resolve;
    });
    mine.set(jobId, { epoch: -1, isLong: false, done });
    try {
      const job = await claim(jobId);
      if (job) {
        mine.set(jobId, { epoch: job.epoch, isLong: longSagas.includes(job.saga), done });
        await run(job, services);
      }
    } catch (error) {
      log.warn({ err: error, job: jobId }, 'job could not be run now; it will be tried again');
    } finally {
      mine.delete(jobId);
      release();
    }
  }

  async function run(job: JobRow, at: Services): Promise<void> {
    const definition = byName.get(job.saga);
    const jobLog = log.child({ job: job.id, saga: job.saga, requestId: job.requestId });
    if (!definition || definition.version !== job.sagaVersion) {
      await settle(job, {
        state: 'Stuck',
        error: { code: 'Internal', message: `job of ${job.saga} version ${job.sagaVersion} was begun by another release` },
      });
      jobLog.error('job is stuck: its saga has another version now');
      return;
    }
    const world = { services: { ...at, log: jobLog }, job, stopping: () => stopping, ...(probe ? { probe } : {}) };
    const context: StepContext = { ...world.services, requestId: job.requestId, job };
    try {
      const outcome = await execute(definition, world);
      await settle(job, { state: 'Done', result: await resultOf(definition, context, outcome, job) });
    } catch (error) {
      if (error instanceof Stop || isOutage(error)) {
        jobLog.info({ reason: error instanceof Stop ? error.message : 'the database is away' }, 'job let go');
        await letGo(job, 1);
      } else if (error instanceof UnwindFailed) {
        if (job.attempts > UNWIND_ATTEMPTS_MAX) {
          await settle(job, { state: 'Stuck', error: CloudError.store(error.cause) });
          jobLog.error({ err: error.cause }, 'job is stuck: an undo failed too often');
        } else await letGo(job, Math.min(60, 2 ** Math.min(job.attempts, 6)));
      } else {
        jobLog.warn({ err: error }, 'job failed');
        await settle(job, { state: 'Failed', error: CloudError.store(error) });
      }
    }
  }

  /** What the saga did stays done, so a result that cannot be made, such as one of a thing removed since, is no failure. */
  async function resultOf(definition: AnySaga, context: StepContext, outcome: unknown, job: JobRow): Promise<Record<string, unknown>> {
    try {
      return definition.result ? await definition.result(context, outcome as never, job.input as never) : { success: true };
    } catch (error) {
      if (isOutage(error)) throw error;
      context.log.error({ err: error }, 'the job is done, but its result cannot be shown');
      return { success: true };
    }
  }

  async function settle(job: JobRow, end: Pick<JobRow, 'state'> & Partial<Pick<JobRow, 'result' | 'error'>>): Promise<void> {
    await db.transact(async (tx) => {
      const { affected } = await tx.update(jobTable, { id: job.id, epoch: job.epoch }, {
        ...end,
        workerId: null,
        leaseUntil: null,
        ...(end.state === 'Stuck' ? {} : { completedAt: new Date() }),
      } as never);
      if (affected !== 1) return;
      const failed = end.state !== 'Done';
      await jobEvent(
        tx,
        job,
        'Completed',
        failed ? 'ERROR' : 'INFO',
        failed
          ? `Error while ${job.eventText ?? job.saga}: ${end.error?.message ?? ''}`
          : `Successfully completed ${job.eventText ?? job.saga}`,
      );
      if (end.state === 'Stuck')
        await raiseAlert(tx, 'managementServer', `Job ${job.id} of ${job.saga} is stuck: ${end.error?.message ?? ''}`, {
          resourceId: job.id,
        });
    });
  }

  async function letGo(job: JobRow, seconds: number): Promise<void> {
    await db
      .transact((tx) =>
        tx.update(
          jobTable,
          { id: job.id, epoch: job.epoch },
          { workerId: null, leaseUntil: null, retryAt: new Date(Date.now() + seconds * 1000) },
        ),
      )
      .catch((error: unknown) => log.warn({ err: error, job: job.id }, 'job lease could not be given back; it runs out by itself'));
  }

  async function scan(): Promise<void> {
    const now = new Date();
    // Those that could not begin now must not stand before those that could.
    const skipped = longSagas.length > 0 && noMoreLong() ? longSagas : [''];
    const due = await db.rows<{ id: Id<'job'> }>(
      `SELECT id FROM job WHERE state IN ('Queued', 'Running', 'Unwinding') AND (lease_until IS NULL OR lease_until < ?) AND (retry_at IS NULL OR retry_at < ?)
         AND saga NOT IN (?) ORDER BY created_at LIMIT ?`,
      [now, now, skipped, Math.max(1, config.workers - mine.size)],
    );
    for (const { id } of due) void tryRun(id);
  }

  async function renew(): Promise<void> {
    const held = [...mine].filter(([, { epoch }]) => epoch > 0).map(([id]) => id);
    if (held.length === 0) return;
    await db.rows('UPDATE job SET lease_until = ? WHERE worker_id = ? AND id IN (?)', [
      new Date(Date.now() + LEASE_SECONDS * 1000),
      workerId,
      held,
    ]);
  }

  const every = (ms: number, what: string, work: () => Promise<void>) => {
    let busy = false;
    const timer = setInterval(() => {
      if (busy) return;
      busy = true;
      work()
        .catch((error: unknown) => log.warn({ err: error }, `${what} failed`))
        .finally(() => {
          busy = false;
        });
    }, ms);
    timer.unref();
    timers.push(timer);
  };

  return {
    add,
    start: async (saga, input, options) => {
      const started = await db.transact((tx) => add(tx, saga, input, options));
      ring(started);
      return started;
    },
    ring,
    finished: async (jobId, timeoutMs) => {
      for (const until = Date.now() + timeoutMs; ; ) {
        const row = await db.read.findOneBy(jobTable, { id: jobId });
        if (row && ['Done', 'Failed', 'Stuck'].includes(row.state)) return row;
        if (Date.now() > until)
          throw new CloudError('Timeout', `job ${jobId} is still ${row?.state ?? 'unknown'} at ${row?.step ?? 'its start'}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
    running: () => mine.size,
    listen: (given) => {
      services = given;
      // The link's port is this process's now, so whoever worked as this server before is gone; its jobs need not wait for their leases.
      db.rows('UPDATE job SET worker_id = NULL, lease_until = NULL WHERE worker_id LIKE ? AND worker_id <> ?', [`${serverId}/%`, workerId])
        .then(scan)
        .catch((error: unknown) => log.warn({ err: error }, 'jobs of the process before this one are taken over when their leases end'));
      bell.listen((jobId) => void tryRun(jobId));
      every(SCAN_MS, 'scan for jobs', scan);
      every((LEASE_SECONDS * 1000) / 3, 'renewal of job leases', renew);
    },
    close: async () => {
      stopping = true;
      for (const timer of timers) clearInterval(timer);
      timers = [];
      await Promise.race([
        Promise.all([...mine.values()].map(({ done }) => done)),
        new Promise((resolve) => setTimeout(resolve, 5000).unref()),
      ]);
      await bell.close();
    },
  };
}

async function jobEvent(tx: Tx, job: JobRow, state: 'Started' | 'Completed', level: 'INFO' | 'ERROR', description: string): Promise<void> {
  if (!job.eventType || !job.accountId || !job.domainId) return;
  await writeEvent(tx, {
    type: job.eventType,
    state,
    level,
    description,
    owner: { accountId: job.accountId, domainId: job.domainId, userId: job.userId },
    startEventId: job.startEventId,
    ...(job.instanceType && job.instanceId ? { resource: { type: job.instanceType, id: job.instanceId } } : {}),
  });
}

interface Bell {
  ring: (jobId: Id<'job'>) => void;
  listen: (heard: (jobId: Id<'job'>) => void) => void;
  close: () => Promise<void>;
}

/** Bull as a bell between management servers. Errors of Redis are logged once a minute and never stop anything. */
function openBell(redis: Config['redis'], log: Log): Bell {
  const queue: Bull.Queue<{ jobId: Id<'job'> }> = new Bull('nephos-jobs', redis.url ?? '', {
    redis: {
      ...(redis.path ? { path: redis.path } : {}),
      ...(redis.db === undefined ? {} : { db: redis.db }),
      maxRetriesPerRequest: 1,
      enableReadyCheck: false,
      retryStrategy: (times: number) => Math.min(200 * times, 3000),
    },
    defaultJobOptions: { removeOnComplete: true, removeOnFail: true, attempts: 1 },
  });
  let quietUntil = 0;
  const complain = (error: unknown) => {
    if (Date.now() < quietUntil) return;
    quietUntil = Date.now() + 60_000;
    log.warn({ err: error }, 'the bell is away; jobs are found by looking every 2 seconds');
  };
  queue.on('error', complain);
  return {
    ring: (jobId) => void queue.add({ jobId }).catch(complain),
    listen: (heard) => {
      queue
        .process(50, async (job: Bull.Job<{ jobId: Id<'job'> }>) => {
          heard(job.data.jobId);
        })
        .catch(complain);
    },
    close: async () => {
      await Promise.race([queue.close(true).catch(() => undefined), new Promise((resolve) => setTimeout(resolve, 1000).unref())]);
    },
  };
}
