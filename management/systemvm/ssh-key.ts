/** Which public key opens system VMs: each is told the whole list, so that the key before ends with it. */
import { call } from '../../protocol/message.ts';
import { ApplyAuthorizedKeys } from '../../protocol/messages/systemvm.ts';
import type { Id } from '../../protocol/schema.ts';
import type { Peer } from '../core/area.ts';
import { sha256Hex } from '../core/secrets.ts';
import type { Services } from '../core/services.ts';
import { cloudSshKey } from '../core/ssh-key.ts';
import { systemVms } from './entities.ts';

export const sshKeySha256 = (publicKey: string): string => sha256Hex(publicKey);

export async function tellSshKey(services: Services, { kind, id }: Peer, requestId: string): Promise<void> {
  if (kind === 'host') return;
  const { db, agents } = services;
  let { publicKey } = await cloudSshKey(services);
  for (;;) {
    await agents.ask({ kind, id }, call(ApplyAuthorizedKeys, { keys: [publicKey] }), { requestId, linkGraceSeconds: 0 });
    // Where the key was changed meanwhile, whoever changed it may have been overtaken by what was sent here.
    const now = (await cloudSshKey(services)).publicKey;
    if (now === publicKey) break;
    publicKey = now;
  }
  const told = sshKeySha256(publicKey);
  const row = await db.read.findOneBy(systemVms, { id: id as Id<'machine'> });
  if (row && row.sshKeySha256 !== told) await db.rows('UPDATE system_vm SET ssh_key_sha256 = ? WHERE id = ?', [told, id]);
}
