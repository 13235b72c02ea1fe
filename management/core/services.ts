/** What every command, saga step and reconciler has at hand; made once in main.ts. */

import type { Log } from '../../protocol/log.ts';
import type { Call } from '../../protocol/message.ts';
import type { Id } from '../../protocol/schema.ts';
import type { Config } from '../config.ts';
import type { Certificates } from './certificates.ts';
import type { Database } from './db.ts';
import type { Jobs } from './jobs.ts';
import type { AgentAddress, AskOptions } from './saga.ts';
import type { Secrets } from './secrets.ts';
import type { Settings } from './settings.ts';

export interface Agents {
  /** Throws Unreachable when there is no link within the grace, and whatever the agent refused with. */
  ask: <A>(to: AgentAddress, call: Call<A>, options: AskOptions & { requestId: string; job?: string; epoch?: number }) => Promise<A>;
  /** True when this or another management server holds its link now. */
  isUp: (id: string) => Promise<boolean>;
  /** Cuts the link of an agent that is removed or known to be gone. */
  drop: (id: string, reason: string) => void;
}

export interface Services {
  readonly config: Config;
  readonly serverId: Id<'managementServer'>;
  readonly db: Database;
  readonly settings: Settings;
  readonly secrets: Secrets;
  readonly certificates: Certificates;
  readonly agents: Agents;
  readonly jobs: Jobs;
  readonly log: Log;
  /** Wakes the reconcilers that listen to this subject, soon. */
  readonly wake: (subject: string) => void;
}
