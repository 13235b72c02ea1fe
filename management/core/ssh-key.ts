/** The cloud's own ssh key pair: opens system VMs on port 3922, and hosts that were given its public half. Made by itself, changed when an operator wants it. */
import { createHash } from 'node:crypto';
import ssh2 from 'ssh2';
import { Secret } from '../../protocol/schema.ts';
import type { Tx } from './db.ts';
import { keepOnce } from './kept.ts';
import type { Services } from './services.ts';

const NAME = 'sshKey';

export interface SshKey {
  /** One OpenSSH line. */
  readonly publicKey: string;
  readonly privateKey: Secret;
  /** Null for the first one of a cloud that has never changed it. */
  readonly createdAt: Date | null;
}
type Parts = Pick<Services, 'db' | 'secrets'>;

export async function cloudSshKey({ db, secrets }: Parts): Promise<SshKey> {
  return opened(secrets, await keepOnce(db, NAME, () => newPair(secrets)));
}

/** Makes another pair; the one before is forgotten with it. */
export async function changeCloudSshKey(tx: Tx, secrets: Services['secrets']): Promise<SshKey> {
  const sealed = newPair(secrets);
  await tx.query('INSERT INTO kept (name, value) VALUES (?, ?) ON DUPLICATE KEY UPDATE value = VALUES(value)', [NAME, sealed]);
  return opened(secrets, sealed);
}

/** As `ssh-keygen -l` prints it. */
export function sshFingerprint(publicKey: string): string {
  const [, blob = ''] = publicKey.split(' ');
  return `SHA256:${createHash('sha256').update(Buffer.from(blob, 'base64')).digest('base64').replace(/=+$/, '')}`;
}

function newPair(secrets: Services['secrets']): string {
  const pair = ssh2.utils.generateKeyPairSync('ed25519', { comment: 'nephos' });
  const createdAt = new Date().toISOString();
  return secrets.seal(new Secret(JSON.stringify({ publicKey: pair.public, privateKey: pair.private, createdAt })));
}

function opened(secrets: Services['secrets'], sealed: string): SshKey {
  const { publicKey, privateKey, createdAt } = JSON.parse(secrets.open(sealed).reveal());
  return {
    publicKey: String(publicKey).trim(),
    privateKey: new Secret(String(privateKey)),
    createdAt: typeof createdAt === 'string' ? new Date(createdAt) : null,
  };
}
