import { type Infer, s } from '../schema.ts';

/** What rides on every heartbeat. Hosts send differences of power; after a new link, and when asked, the whole. */
export const HostBeat = s.object({
  /** True when `machines` is all of them; otherwise only those that changed since the last beat. */
  whole: s.boolean(),
  machines: s.list(s.object({ id: s.id('machine'), power: s.oneOf('On', 'Off') })),
});
export const ConsoleProxyBeat = s.object({ sessions: s.int() });
export const SecondaryStorageBeat = s.object({
  activeCommands: s.int(),
  /** Downloads that are running now. */
  downloads: s.list(
    s.object({
      imageId: s.id('template'),
      receivedBytes: s.int(),
      totalBytes: s.nullable(s.int()),
      phase: s.oneOf('downloading', 'checking', 'converting'),
    }),
  ),
});
export const RouterBeat = s.object({ generation: s.int(), drift: s.list(s.string({ max: 40 }), { max: 32 }) });
export const Beat = s.object({
  host: s.optional(HostBeat),
  consoleProxy: s.optional(ConsoleProxyBeat),
  secondaryStorage: s.optional(SecondaryStorageBeat),
  router: s.optional(RouterBeat),
});
export type Beat = Infer<typeof Beat>;

/** Subjects a bell may ring for: «something about this changed, look». */
export const bellSubjects = ['machine', 'image', 'console', 'router', 'host'] as const;
export type BellSubject = (typeof bellSubjects)[number];
