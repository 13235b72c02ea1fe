/**
 * The agent's desk for asks. It outlives any one connection: an ask that comes again because the link broke joins the one that is
 * running, or gets the answer that was lost on the way.
 */
import { isDeepStrictEqual } from 'node:util';
import { CloudError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Handler } from '../message.ts';
import { encode, type FrameOf } from './frame.ts';

const RUNNING_MAX = 1024;
const ANSWERS_KEPT_MAX = 512;
const ANSWERS_KEPT_CHARACTERS_MAX = 4 * 1024 * 1024;
const EPOCHS_KEPT_MAX = 10_000;
/** How long work goes on for an asker whose link is gone: it takes a management server this long to come back and ask again. */
const ORPHAN_MS = 120_000;

type Ask = FrameOf<'ask'>;
type Send = (text: string) => void;

interface Task {
  readonly name: string;
  readonly body: unknown;
  readonly job: string | null;
  epoch: number;
  /** Ask ids that want the answer, each with the way to send it; null while there is no link. */
  readonly askers: Map<string, Send | null>;
  readonly controller: AbortController;
  deadline: NodeJS.Timeout;
  orphaned: NodeJS.Timeout | null;
  readonly settled: Promise<void>;
}

export interface Answering {
  take(ask: Ask, send: Send): void;
  cancel(id: string): void;
  /** The link is gone: running work continues for a while, in case it is asked for again. */
  linkLost(): void;
  close(): void;
  readonly runningCount: number;
}

export function openAnswering(handlers: readonly Handler[], log: Log, { orphanMs = ORPHAN_MS }: { orphanMs?: number } = {}): Answering {
  const byName = new Map(handlers.map((handler) => [handler.name, handler]));
  if (byName.size !== handlers.length) throw new CloudError('Internal', 'two handlers have the same name');
  const running = new Map<string, Task>();
  const answers = new Map<string, string>();
  const epochs = new Map<string, number>();
  let answersCharacters = 0;

  const keep = (id: string, text: string): void => {
    if (text.length > ANSWERS_KEPT_CHARACTERS_MAX / 4) return;
    answers.set(id, text);
    answersCharacters += text.length;
    for (const [oldId, old] of answers) {
      if (answers.size <= ANSWERS_KEPT_MAX && answersCharacters <= ANSWERS_KEPT_CHARACTERS_MAX) break;
      answers.delete(oldId);
      answersCharacters -= old.length;
    }
  };

  const refuse = (id: string, error: unknown): string => encode({ kind: 'refusal', id, body: CloudError.store(error) });

  const runHandler = async (task: Task, requestId: string, before: readonly Promise<void>[]): Promise<unknown> => {
    await Promise.all(before);
    const handler = byName.get(task.name);
    if (handler === undefined) throw new CloudError('ResourceUnavailable', `this agent does not know the message ${task.name}`);
    if (task.controller.signal.aborted) throw new CloudError('Timeout', `${task.name} was given up before it began`);
    return await handler.handle(task.body, { requestId, signal: task.controller.signal });
  };

  const deliver = (task: Task, outcome: { body: unknown } | { error: unknown }): void => {
    clearTimeout(task.deadline);
    if (task.orphaned !== null) clearTimeout(task.orphaned);
    for (const [id, send] of task.askers) {
      running.delete(id);
      let text: string;
      try {
        text = 'body' in outcome ? encode({ kind: 'answer', id, body: outcome.body }) : refuse(id, outcome.error);
      } catch (error) {
        text = refuse(id, error);
      }
      keep(id, text);
      send?.(text);
    }
  };

  const start = (ask: Ask, send: Send, before: readonly Promise<void>[]): void => {
    const controller = new AbortController();
    let settle = (): void => {};
    const task: Task = {
      name: ask.name,
      body: ask.body,
      job: ask.job ?? null,
      epoch: ask.epoch ?? 0,
      askers: new Map([[ask.id, send]]),
      controller,
      deadline: setTimeout(() => controller.abort(), ask.timeoutMs),
      orphaned: null,
      settled: new Promise((resolve) => {
        settle = resolve;
      }),
    };
    task.deadline.unref();
    running.set(ask.id, task);
    runHandler(task, ask.requestId, before)
      .then(
        (body) => deliver(task, { body }),
        (error: unknown) => {
          const fields = { err: error, message: ask.name, requestId: ask.requestId, job: ask.job };
          if (error instanceof CloudError && error.code !== 'Internal') log.warn(fields, 'ask refused');
          else log.error(fields, 'ask failed');
          deliver(task, { error });
        },
      )
      .finally(settle);
  };

  const join = (task: Task, id: string, send: Send): void => {
    if (task.orphaned !== null) clearTimeout(task.orphaned);
    task.orphaned = null;
    task.askers.set(id, send);
    running.set(id, task);
  };

  /** Remembers the newest epoch of the ask's job. False when the ask is of an older one: its worker has lost the job. */
  const fence = (job: string, epoch: number): boolean => {
    const known = epochs.get(job) ?? 0;
    if (epoch < known) return false;
    epochs.delete(job);
    epochs.set(job, epoch);
    for (const oldest of epochs.keys()) {
      if (epochs.size <= EPOCHS_KEPT_MAX) break;
      epochs.delete(oldest);
    }
    return true;
  };

  return {
    take(ask, send) {
      const kept = answers.get(ask.id);
      if (kept !== undefined) return send(kept);
      const same = running.get(ask.id);
      if (same !== undefined) return join(same, ask.id, send);
      const before: Promise<void>[] = [];
      if (ask.job !== undefined && ask.epoch !== undefined) {
        const { job, epoch } = ask;
        if (!fence(job, epoch)) {
          return send(refuse(ask.id, new CloudError('Conflict', `${ask.name} was asked by a worker that no longer has the job`)));
        }
        for (const task of new Set(running.values())) {
          if (task.job !== job || task.epoch >= epoch) continue;
          if (task.name === ask.name && !task.controller.signal.aborted && isDeepStrictEqual(task.body, ask.body)) {
            // The worker that took the job over asks for just what is running, for example a long download: it goes on for him.
            task.epoch = epoch;
            clearTimeout(task.deadline);
            task.deadline = setTimeout(() => task.controller.abort(), ask.timeoutMs);
            task.deadline.unref();
            return join(task, ask.id, send);
          }
          // What the former worker asked must not work against what the present one asks; it ends first.
          task.controller.abort();
          before.push(task.settled);
        }
      }
      if (running.size >= RUNNING_MAX) {
        return send(refuse(ask.id, new CloudError('ResourceUnavailable', 'the agent has too much to do at the moment')));
      }
      start(ask, send, before);
    },
    cancel(id) {
      const task = running.get(id);
      if (task === undefined) return;
      task.askers.set(id, null);
      if ([...task.askers.values()].every((send) => send === null)) task.controller.abort();
    },
    linkLost() {
      for (const task of new Set(running.values())) {
        for (const id of task.askers.keys()) task.askers.set(id, null);
        task.orphaned ??= setTimeout(() => task.controller.abort(), orphanMs);
        task.orphaned.unref();
      }
    },
    close() {
      for (const task of running.values()) task.controller.abort();
    },
    get runningCount() {
      return running.size;
    },
  };
}
