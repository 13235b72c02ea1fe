/** The cloud's own ssh key: commands of ours, for the contract has none. */
import { command, reply } from '../../core/command.ts';
import { pageOf, pageParams } from '../../core/list.ts';
import type { Services } from '../../core/services.ts';
import { changeCloudSshKey, cloudSshKey, type SshKey, sshFingerprint } from '../../core/ssh-key.ts';
import { f, view } from '../../core/view.ts';
import { sshKeySha256 } from '../ssh-key.ts';

interface CloudSshKeyShown {
  readonly publicKey: string;
  readonly createdAt: Date | null;
  readonly told: number;
  readonly pending: number;
}
const cloudSshKeyView = view<CloudSshKeyShown>('CloudSshKeyResponse', 'cloudsshkey', {
  publickey: f.string('the public half, as a line of authorized_keys', (row) => row.publicKey),
  fingerprint: f.string('its fingerprint, as ssh-keygen -l prints it', (row) => sshFingerprint(row.publicKey)),
  created: f.date('when it was made', (row) => row.createdAt),
  systemvms: f.integer('how many running system VMs and routers it opens', (row) => row.told),
  pending: f.integer('how many running ones have not been told of it yet', (row) => row.pending),
});

async function shown(
  { db }: Pick<Services, 'db'>,
  { publicKey, createdAt }: Pick<SshKey, 'publicKey' | 'createdAt'>,
): Promise<CloudSshKeyShown> {
  const [counted] = await db.rows<{ told: string | null; running: string }>(
    `SELECT SUM(s.ssh_key_sha256 <=> ?) AS told, COUNT(*) AS running FROM system_vm s JOIN machine m ON m.id = s.id
      WHERE s.removed_at IS NULL AND m.state = 'Running'`,
    [sshKeySha256(publicKey)],
  );
  const told = Number(counted?.told ?? 0);
  return { publicKey, createdAt, told, pending: Number(counted?.running ?? 0) - told };
}

export const listCloudSshKeys = command({
  name: 'listCloudSshKeys',
  about: "Shows the public half of the cloud's ssh key, and how many system VMs have it.",
  access: 'admin',
  params: { ...pageParams },
  reply: reply.list(cloudSshKeyView),
  run: async (context, params) => pageOf(context, params, [await shown(context, await cloudSshKey(context))]),
});

export const rotateCloudSshKey = command({
  name: 'rotateCloudSshKey',
  // Hosts that were given the old key need the new one before they are removed, or the agent stays on them.
  about: 'Makes a new ssh key of the cloud and tells all system VMs, each of which refuses the old one from then on.',
  access: 'admin',
  event: { type: 'SSHKEY.ROTATE', text: "changing the cloud's ssh key" },
  params: {},
  reply: reply.one(cloudSshKeyView),
  run: async (context) => {
    const key = await context.db.transact((tx) => changeCloudSshKey(tx, context.secrets));
    context.wake('sshKey');
    return shown(context, key);
  },
});
