/**
 * What must hold for every saga, checked at each of its steps without naming them: it resumes after a crash there; a second worker may
 * take it over there; a failure there leaves nothing behind; a crash while unwinding does not keep it from finishing; and every message
 * may arrive twice.
 */
import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import { type AnySaga, execute, type Probe, type ProbePoint, Stop } from '../management/core/saga.ts';
import { type JobRow, jobs } from '../management/core/tables.ts';
import { CloudError } from '../protocol/errors.ts';
import { newId } from '../protocol/ids.ts';
import type { Id } from '../protocol/schema.ts';
import type { Rows, World } from './cloud/in-process.ts';

export interface SagaCase {
  readonly title: string;
  readonly saga: AnySaga;
  /** Brings the world into the state in which the saga begins, and gives its input. */
  readonly begin: (world: World) => Promise<unknown>;
  /**
   * `undone`: a failure takes everything back. `repeatable`: what is being removed cannot be taken back; asked for again after a failure it
   * goes on to its end.
   */
  readonly onFailure: 'undone' | 'repeatable';
  /** The saga takes a failure for an outcome and ends well, with the reason in the record for its user to see. */
  readonly tells?: boolean;
  /** What a failure does change, for the user to see. */
  readonly marks?: (world: World) => Promise<void>;
  /** What the cloud would take away later by itself, because others might have used it. */
  readonly cleans?: (world: World) => Promise<void>;
}
type Point = readonly [point: ProbePoint, step: string];

export interface Held {
  readonly points: number;
  readonly runs: number;
}

export async function holdsForEveryStep(world: World, given: SagaCase): Promise<Held> {
  const { saga } = given;
  let runs = 0;
  let input: unknown;
  let rows: Rows | undefined;
  const begin = async (): Promise<Id<'job'>> => {
    await world.restore(rows);
    rows = undefined;
    input = await given.begin(world);
    return (await newJob(world, saga, input)).id;
  };
  const run = async (jobId: Id<'job'>, probe?: Probe): Promise<unknown> => {
    runs += 1;
    const job = await claim(world, jobId);
    return execute(saga, { services: world.services, job, pollMs: 1, ...(probe ? { probe } : {}) });
  };
  const snapshot = async () => {
    rows = await world.rows();
    return normalised(world, rows);
  };
  const same = async (expected: unknown, what: string) => {
    const found = differences(await snapshot(), expected);
    assert.ok(found.length === 0, `${given.title}: ${what}:\n${found.slice(0, 15).join('\n')}`);
  };

  const happy = await begin();
  const untouched = await snapshot();
  const all = await visited(async (probe) => {
    const outcome = await run(happy, probe);
    const row = await world.services.db.read.findOneByOrFail(jobs, { id: happy });
    await saga.result?.({ ...world.services, requestId: row.requestId, job: row }, outcome as never, input as never);
  });
  const finished = await snapshot();
  // Nothing happens between the end of one step and the begin of the next, so one of the two stands for both.
  const points = all.filter(([kind], index) => kind !== 'after' || index === all.length - 1);

  await begin();
  const failed = given.marks ? await given.marks(world).then(snapshot) : untouched;

  const twice = await begin();
  world.twice = true;
  await run(twice);
  await same(finished, 'every message arrived twice, and that made a difference');

  for (const point of points) {
    const crashed = await begin();
    await assert.rejects(run(crashed, at(point, crash)), Stop, `${given.title}: there was no crash ${point.join(' ')}`);
    await run(crashed);
    await same(finished, `crashed ${point.join(' ')} and did not resume`);

    const shared = await begin();
    const slow = run(
      shared,
      at(point, async () => {
        await run(shared);
      }),
    );
    // The second worker has ended the job; the first one, awake again, may do nothing more.
    await slow.catch((error: unknown) => assert.ok(error instanceof Stop, `${given.title}: two workers met ${point.join(' ')}: ${error}`));
    await same(finished, `two workers met ${point.join(' ')}`);
  }

  const failing = points.filter(([kind]) => kind === 'before' || kind === 'asked');
  for (const [index, point] of failing.entries()) {
    const broken = await begin();
    const undos = (await visited((probe) => refused(run(broken, both(probe, at(point, fail))), given, point))).filter(
      ([kind]) => kind === 'undo' || kind === 'unasked',
    );
    if (given.onFailure === 'repeatable') {
      await run((await newJob(world, saga, input)).id);
      await given.cleans?.(world);
      await same(finished, `failed ${point.join(' ')}, and asked for again it did not come to its end`);
      continue;
    }
    await given.cleans?.(world);
    // Before the first step nothing has been done, so there is nothing to be marked either.
    const expected = index === 0 ? untouched : failed;
    await same(expected, `failed ${point.join(' ')} and left something behind`);

    // Each undo of the longest unwinding, and one of each other: they share their undos.
    const crashes = index === failing.length - 1 ? undos : undos.slice(index % Math.max(1, undos.length)).slice(0, 1);
    for (const undo of crashes) {
      const unwinding = await begin();
      const injected = at(point, fail);
      await assert.rejects(run(unwinding, both(injected, at(undo, crash))), Stop);
      await refused(run(unwinding, injected), given, point);
      await given.cleans?.(world);
      await same(expected, `failed ${point.join(' ')}, crashed ${undo.join(' ')} and did not finish`);
    }
  }
  return { points: points.length, runs };
}

const crash = () => {
  throw new Stop('crashed by the test');
};
const fail = () => {
  // Of a code that no saga takes for a reason to try another way.
  throw new CloudError('Conflict', INJECTED);
};
const INJECTED = 'injected by the test';
const refused = async (running: Promise<unknown>, { title, tells = false }: SagaCase, point: Point): Promise<void> => {
  const failed = running.then(() => {
    if (!tells) throw new assert.AssertionError({ message: `${title}: failed ${point.join(' ')} and ended well all the same` });
    throw new CloudError('Conflict', INJECTED);
  });
  await assert.rejects(failed, (error) => {
    assert.ok(
      error instanceof CloudError && error.message.includes(INJECTED),
      `${title}: failed ${point.join(' ')} and came out with ${error}`,
    );
    return true;
  });
};
const both =
  (one: Probe, other: Probe): Probe =>
  async (...point) => {
    await one(...point);
    await other(...point);
  };

/** Where two plain values differ, as paths with what is and what should be. */
function differences(is: unknown, should: unknown, path = ''): string[] {
  if (isDeepStrictEqual(is, should)) return [];
  const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;
  if (!isObject(is) || !isObject(should)) return [`${path}: ${JSON.stringify(is)}, and should be ${JSON.stringify(should)}`];
  return [...new Set([...Object.keys(is), ...Object.keys(should)])].flatMap((key) => differences(is[key], should[key], `${path}/${key}`));
}

/** Names of steps may hold ids, and those of new things differ each time. */
const nameless = (step: string): string => step.replaceAll(UUID, '…');

async function visited(go: (probe: Probe) => Promise<unknown>): Promise<Point[]> {
  const points: Point[] = [];
  await go((kind, step) => void points.push([kind, nameless(step)]));
  return points;
}

/** Acts once, the first time this point is reached. */
function at([kind, step]: Point, act: () => void | Promise<void>): Probe {
  let armed = true;
  return (reachedKind, reachedStep) => {
    if (!armed || reachedKind !== kind || nameless(reachedStep) !== step) return undefined;
    armed = false;
    return act();
  };
}

export async function newJob(
  { services: { db } }: World,
  { name, version }: Pick<AnySaga, 'name' | 'version'>,
  input: unknown,
): Promise<JobRow> {
  const id = newId('job');
  const blank = { command: null, step: null, userId: null, accountId: null, domainId: null, instanceType: null, instanceId: null };
  await db.transact((tx) =>
    tx.insert(jobs, {
      ...blank,
      id,
      saga: name,
      sagaVersion: version,
      input: input as never,
      state: 'Running',
      epoch: 0,
      requestId: 'saga-properties',
      eventType: null,
      eventText: null,
      startEventId: null,
      attempts: 0,
      createdAt: new Date(),
    }),
  );
  return db.read.findOneByOrFail(jobs, { id });
}

async function claim({ services: { db } }: World, id: Id<'job'>): Promise<JobRow> {
  return db.transact(async (tx) => {
    await tx.query('UPDATE job SET epoch = epoch + 1 WHERE id = ?', [id]);
    return tx.findOneByOrFail(jobs, { id });
  });
}

/** The machinery's own tables, and numbers that are used up whatever becomes of what they were for. */
const LEFT_OUT = new Set(['job', 'journal', 'event', 'alert', 'counter', 'join_token', 'lease', 'session', 'kept', 'revoked_certificate']);
const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}/g;
/** Numbered names of machines and volumes. */
const NAME = /\b(?:[irsv](?:-\d+)+-VM|ROOT-\d+|DATA-\d+)\b/g;
const MAC = /02:00(:[0-9a-f]{2}){4}/g;

/**
 * Rows and machines, without what differs between two runs that did the same: times are there or not, generations are left out, new ids
 * and MACs are counted, random addresses are blanked, and a row that came and went was never there.
 */
async function normalised(world: World, current: Rows): Promise<unknown> {
  const plain: Record<string, unknown[]> = {};
  for (const [table, rows] of current) {
    if (LEFT_OUT.has(table)) continue;
    plain[table] = [...rows]
      .filter(([key, row]) => world.isOld(table, key) || ((row['removed_at'] ?? null) === null && row['state'] !== 'Removed'))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, row]) =>
        Object.fromEntries(
          Object.entries(row).flatMap(([column, value]) => {
            if (column.endsWith('generation') || column === 'last_beat_at' || column === 'certificate_serial') return [];
            if (/(_at|_since|^since|_until|^until)$/.test(column)) return [[column, value === null ? null : 'some time']];
            if (column === 'vnc_password' || column === 'password') return [[column, value === null ? null : 'sealed']];
            return [[column, value]];
          }),
        ),
      );
  }
  const counted = new Map<string, string>();
  const secretless = (key: string, value: unknown) =>
    key === 'password' && typeof value === 'object' && value !== null ? 'a password' : value;
  const text = JSON.stringify({ plain, machines: await world.machines() }, secretless)
    .replace(UUID, (id) => {
      if (world.isKnown(id)) return id;
      const known = counted.get(id) ?? `new ${counted.size + 1}`;
      counted.set(id, known);
      return known;
    })
    .replace(NAME, (name) => (world.isKnown(name) ? name : name.replaceAll(/\d+/g, 'n')))
    .replace(MAC, (mac) => (world.isKnown(mac) ? mac : 'new MAC'))
    .replace(/169\.254\.\d+\.\d+/g, 'control address');
  return JSON.parse(text);
}
