/** The cloud's own ssh key pair: opens system VMs on port 3922, and hosts that were given its public half. Made once. */
import ssh2 from 'ssh2';
import { Secret } from '../../protocol/schema.ts';
import { keepOnce } from './kept.ts';
import type { Services } from './services.ts';

export interface SshKey {
  /** One OpenSSH line. */
  readonly publicKey: string;
  readonly privateKey: Secret;
}

export async function cloudSshKey({ db, secrets }: Pick<Services, 'db' | 'secrets'>): Promise<SshKey> {
  const sealed = await keepOnce(db, 'sshKey', () => {
    const pair = ssh2.utils.generateKeyPairSync('ed25519', { comment: 'nephos' });
    return secrets.seal(new Secret(JSON.stringify({ publicKey: pair.public, privateKey: pair.private })));
  });
  const { publicKey, privateKey } = JSON.parse(secrets.open(sealed).reveal());
  return { publicKey: String(publicKey).trim(), privateKey: new Secret(String(privateKey)) };
}
