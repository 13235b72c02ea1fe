import type { SystemVmKindName } from '../../../protocol/kinds.ts';
import { reconciler } from '../../core/reconcile.ts';
import { cloudSshKey } from '../../core/ssh-key.ts';
import { sshKeySha256, tellSshKey } from '../ssh-key.ts';

/** System VMs that were away when the cloud's ssh key was changed are told when they are back. */
export const sshKeysReconciler = reconciler({
  name: 'systemVm.sshKeys',
  everySeconds: 10,
  wakeOn: ['sshKey', 'agent'],
  run: async (services) => {
    const { db, log } = services;
    const { publicKey } = await cloudSshKey(services);
    const behind = await db.rows<{ id: string; kind: SystemVmKindName }>(
      `SELECT s.id AS id, s.kind AS kind FROM system_vm s JOIN agent a ON a.id = s.id
        WHERE s.removed_at IS NULL AND a.state = 'Up' AND (s.ssh_key_sha256 IS NULL OR s.ssh_key_sha256 <> ?)`,
      [sshKeySha256(publicKey)],
    );
    await Promise.all(
      behind.map((peer) =>
        tellSshKey(services, peer, 'systemVm.sshKeys').catch((error: unknown) =>
          log.warn({ err: error, systemVm: peer.id }, "a system VM did not take the cloud's ssh key; it is told again"),
        ),
      ),
    );
  },
});
