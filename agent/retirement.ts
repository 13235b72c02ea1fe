/** The end of an agent whose host was removed from its cloud. What says so goes with the identity when the agent is installed anew. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Handler, on } from '../protocol/message.ts';
import { RetireHost } from '../protocol/messages/host.ts';
import { exists, writeAtomic } from './files.ts';

export interface Retirement {
  isRetired(): Promise<boolean>;
  handler: Handler;
}

/** Long enough for the answer to be on its way. */
const ANSWER_MILLISECONDS = 500;

/** `close` ends the link. A removed host's certificate is refused anyway, so the key is of no use to anybody and goes. */
export function retirement(identityDirectory: string, close: () => Promise<void>): Retirement {
  const mark = join(identityDirectory, 'retired');
  return {
    isRetired: () => exists(mark),
    handler: on(RetireHost, async () => {
      await mkdir(identityDirectory, { recursive: true, mode: 0o700 });
      await writeAtomic(mark, `${new Date().toISOString()}\n`);
      await rm(join(identityDirectory, 'identity.json'), { force: true });
      setTimeout(() => void close(), ANSWER_MILLISECONDS);
      return {};
    }),
  };
}
