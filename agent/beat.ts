/** The host's part of a heartbeat: what changed since the last one, or everything after a new link. */
import type { Beat } from '../protocol/messages/beat.ts';
import type { Id } from '../protocol/schema.ts';
import type { ListedMachine, Listing, Power } from './hypervisors/hypervisor.ts';

export interface PowerReport {
  beat(): Promise<Beat>;
  /** The next beat carries everything: the far end may be another server, or may have missed the last one. */
  restart(): void;
}

/** The link sends a heartbeat without its body when that takes too long; what was in it would be lost. */
const LATE_MILLISECONDS = 3000;

export function powerReport(list: () => Promise<readonly ListedMachine[]>): PowerReport {
  let told: ReadonlyMap<Id<'machine'>, Power> | null = null;
  let link = 0;
  return {
    beat: async () => {
      const during = link;
      const begun = performance.now();
      const now = new Map((await list()).map(({ id, power }) => [id, power]));
      const before = told;
      // A link that came up during the reading still needs everything.
      if (during === link) told = performance.now() - begun < LATE_MILLISECONDS ? now : null;
      if (before === null) return { host: { whole: true, machines: listing(now) } };
      const changed = [...now].filter(([id, power]) => before.get(id) !== power);
      const gone = [...before].filter(([id, power]) => power === 'On' && !now.has(id)).map(([id]): [Id<'machine'>, Power] => [id, 'Off']);
      return { host: { whole: false, machines: listing([...changed, ...gone]) } };
    },
    restart: () => {
      link += 1;
      told = null;
    },
  };
}

const listing = (machines: Iterable<readonly [Id<'machine'>, Power]>): Listing => [...machines].map(([id, power]) => ({ id, power }));
