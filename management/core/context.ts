/** Who calls, and what a command, saga step or reconciler may use. */
import type { Log } from '../../protocol/log.ts';
import type { Id } from '../../protocol/schema.ts';
import type { Services } from './services.ts';

export const accountTypes = { user: 0, admin: 1, domainAdmin: 2 } as const;
export type AccountTypeName = keyof typeof accountTypes;

export interface Caller {
  readonly userId: Id<'user'>;
  readonly userName: string;
  readonly accountId: Id<'account'>;
  readonly accountName: string;
  readonly accountType: AccountTypeName;
  readonly domainId: Id<'domain'>;
  /** Path of the caller's domain, with a slash at both ends: `/` or `/a/b/`. */
  readonly domainPath: string;
  readonly roleName: string;
}
export const isRootAdmin = (caller: Caller): boolean => caller.accountType === 'admin';

/** What login and logout do to the browser's session. */
export interface Session {
  /** Where the request came from. */
  readonly clientAddress: string;
  /** Opens a session, sets its cookies and returns the session key. */
  open: (userId: Id<'user'>) => Promise<string>;
  /** Ends the session; true when there was a live one. */
  close: () => Promise<boolean>;
}

export interface Context extends Services {
  /** Nobody, with empty ids, for the few commands that are for everybody, such as login. */
  readonly caller: Caller;
  readonly requestId: string;
  readonly log: Log;
  /** Only for commands that are called over HTTP. */
  readonly session?: Session;
}
