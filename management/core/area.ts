/** What an area gives to the server: its lists. main.ts puts the areas together. */
import type { PeerKind } from '../../protocol/kinds.ts';
import type { Beat, BellSubject } from '../../protocol/messages/beat.ts';
import type { AnyCommand } from './command.ts';
import type { Table } from './db.ts';
import type { Reconciler } from './reconcile.ts';
import type { AnySaga } from './saga.ts';
import type { Services } from './services.ts';
import type { AnySetting } from './settings.ts';

export interface Peer {
  readonly kind: PeerKind;
  readonly id: string;
}

/** What an area does when something happens at the far end of a link. Each is quick or starts a job; errors are logged. */
export interface AgentHooks {
  /** Before the agent counts as Up: send it what it must know. A refusal keeps it Connecting. */
  readonly prepare?: (services: Services, peer: Peer) => Promise<void>;
  readonly up?: (services: Services, peer: Peer) => Promise<void>;
  readonly beat?: (services: Services, peer: Peer, beat: Beat) => Promise<void>;
  readonly bell?: (services: Services, peer: Peer, subject: BellSubject) => Promise<void>;
  /** Link lost (Alert) or gracefully ended (Disconnected). */
  readonly down?: (services: Services, peer: Peer, graceful: boolean) => Promise<void>;
}

export interface Area {
  readonly name: string;
  readonly tables: readonly Table<never>[];
  readonly commands: readonly AnyCommand[];
  readonly sagas: readonly AnySaga[];
  readonly reconcilers: readonly Reconciler[];
  readonly settings: readonly AnySetting[];
  readonly agentHooks?: AgentHooks;
  /** Makes what must be there from the first start (default offerings, roles, …); repeatable. */
  readonly seed?: (services: Services) => Promise<void>;
}
/** Lists hold things of many types; this is the one place where their types are let go. */
export const asTables = (...tables: readonly unknown[]): readonly Table<never>[] => tables as readonly Table<never>[];
export const asSagas = (...sagas: readonly unknown[]): readonly AnySaga[] => sagas as readonly AnySaga[];
