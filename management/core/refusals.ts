/** What the operator is told of those who were refused on the agents port. */
import type { Refusal } from '../../protocol/link/server.ts';
import type { Tx } from './db.ts';
import { raiseAlert } from './events.ts';
import { agents } from './tables.ts';

/** Those that no honest agent meets; the others are in the log and counted. */
const ALARMING: ReadonlySet<string> = new Set([
  'other-authority',
  'expired',
  'revoked',
  'other-kind',
  'other-machine',
  'bad-token',
  'removed',
]);

export const isAlarming = ({ reason }: Pick<Refusal, 'reason'>): boolean => ALARMING.has(reason);

/**
 * One open alert for each agent that there is, and one for all who only say that they are one: anybody on the network may call himself
 * by any id, and would fill the table.
 */
export async function raiseRefusal(tx: Tx, { address, peer, words }: Pick<Refusal, 'address' | 'peer' | 'words'>): Promise<void> {
  const who = peer ? ` that called itself ${peer.kind} ${peer.id}` : '';
  const known = peer !== null && (await tx.existsBy(agents, { id: peer.id }));
  await raiseAlert(tx, 'certificate', `A connection from ${address}${who} was refused on the agents port: ${words}`, {
    resourceId: known ? peer.id : null,
  });
}
