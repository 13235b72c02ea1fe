import { createHash } from 'node:crypto';
import ssh2 from 'ssh2';
import { IsNull } from 'typeorm';
import { CloudError } from '../../../protocol/errors.ts';
import { newId } from '../../../protocol/ids.ts';
import { ownerOf } from '../../account/index.ts';
import { command, reply } from '../../core/command.ts';
import type { Database, Tx } from '../../core/db.ts';
import { domainKind, list, ownerParams, pageParams, where } from '../../core/list.ts';
import { p, required } from '../../core/params.ts';
import { type Fields, f, view } from '../../core/view.ts';
import { noKey } from '../deploy.ts';
import { type SshKeyPairRow, sshKeyPairs } from '../entities.ts';
import { sshKeyPairKind } from '../views.ts';

interface KeyPairShown {
  readonly id: string;
  readonly name: string;
  readonly fingerprint: string;
  readonly accountName: string;
  readonly domainId: string;
  readonly domainName: string;
  readonly privateKey?: string;
}
const fields: Fields<KeyPairShown> = {
  id: f.string('the id of the key pair', (row) => row.id),
  name: f.string('the name of the key pair', (row) => row.name),
  fingerprint: f.string('the fingerprint of the public key', (row) => row.fingerprint),
  account: f.string('the owner', (row) => row.accountName),
  domainid: f.string('the domain of the owner', (row) => row.domainId),
  domain: f.string('the name of the domain of the owner', (row) => row.domainName),
};
const keyPairView = view<KeyPairShown>('SSHKeyPairResponse', 'sshkeypair', fields);
const newKeyPairView = view<KeyPairShown>('CreateSSHKeyPairResponse', 'keypair', {
  ...fields,
  privatekey: f.string('the private key; it is kept nowhere', (row) => row.privateKey),
});
const owner = {
  account: p.string('the account that owns it; goes together with domainid'),
  domainid: p.entity('the domain of that account', domainKind, 'use'),
};
const name = required(p.string('the name of the key pair', { match: /^[\x20-\x7e]{1,255}$/ }));

async function loadKeyPairs({ rows }: Pick<Database, 'rows'>, ids: readonly string[]): Promise<KeyPairShown[]> {
  return rows<KeyPairShown>(
    `SELECT k.id AS id, k.name AS name, k.fingerprint AS fingerprint, a.name AS accountName, d.id AS domainId, d.name AS domainName
       FROM ssh_key_pair k JOIN account a ON a.id = k.account_id JOIN domain d ON d.id = k.domain_id WHERE k.id IN (?)`,
    [ids],
  );
}

/** MD5 of the key's bytes, as clients of this API know fingerprints. */
const fingerprint = (publicKey: string): string =>
  createHash('md5')
    .update(Buffer.from(publicKey.split(/\s+/)[1] ?? '', 'base64'))
    .digest('hex')
    .replace(/(..)(?=.)/g, '$1:');

async function insert(tx: Tx, who: Pick<SshKeyPairRow, 'accountId' | 'domainId'>, keyName: string, publicKey: string): Promise<string> {
  await tx.query('SELECT id FROM account WHERE id = ? FOR UPDATE', [who.accountId]);
  if ((await tx.countBy(sshKeyPairs, { accountId: who.accountId, name: keyName, removedAt: IsNull() })) > 0) {
    throw new CloudError('InvalidParameter', `A key pair with name '${keyName}' already exists for this account.`);
  }
  const id = newId('sshKeyPair');
  await tx.insert(sshKeyPairs, {
    id,
    ...who,
    name: keyName,
    fingerprint: fingerprint(publicKey),
    publicKey,
    createdAt: new Date(),
    removedAt: null,
  });
  return id;
}

export const createSSHKeyPair = command({
  name: 'createSSHKeyPair',
  about: 'Makes an SSH key pair and shows its private key once.',
  access: 'user',
  event: { type: 'REGISTER.SSH.KEYPAIR', text: 'creating SSH key pair' },
  params: { name, ...owner },
  reply: reply.one(newKeyPairView),
  run: async (context, params) => {
    const who = await ownerOf(context, params);
    const pair = ssh2.utils.generateKeyPairSync('rsa', { bits: 2048, comment: 'nephos' });
    const id = await context.db.transact((tx) => insert(tx, who, params.name, pair.public.trim()));
    const [shown] = await loadKeyPairs(context.db, [id]);
    if (!shown) throw new CloudError('Internal', 'the key pair was not written');
    return { ...shown, privateKey: pair.private };
  },
});

export const registerSSHKeyPair = command({
  name: 'registerSSHKeyPair',
  about: 'Registers the public half of a key pair under a name.',
  access: 'user',
  event: { type: 'REGISTER.SSH.KEYPAIR', text: 'registering SSH key pair' },
  params: { name, publickey: required(p.string('the public key, as in an authorized_keys file', { max: 5120 })), ...owner },
  reply: reply.one(keyPairView, 'keypair'),
  run: async (context, params) => {
    const who = await ownerOf(context, params);
    const publicKey = readPublicKey(params.publickey);
    const id = await context.db.transact((tx) => insert(tx, who, params.name, publicKey));
    const [shown] = await loadKeyPairs(context.db, [id]);
    if (!shown) throw new CloudError('Internal', 'the key pair was not written');
    return shown;
  },
});

/** The key line alone, without options: it goes into guests' metadata. */
function readPublicKey(text: string): string {
  const line = text.trim();
  const match = /^(ssh-[a-z0-9-]+|ecdsa-sha2-[a-z0-9-]+|sk-[a-z0-9@.-]+) ([A-Za-z0-9+/]+={0,2})(?: ([\x21-\x7e ]{0,200}))?$/.exec(line);
  const parsed = match ? ssh2.utils.parseKey(`${match[1]} ${match[2]}`) : new CloudError('InvalidParameter', 'no key');
  if (!match || parsed instanceof Error)
    throw new CloudError('InvalidParameter', 'Public key is invalid: it must be one line such as ssh-ed25519 AAAA… comment');
  return line;
}

export const deleteSSHKeyPair = command({
  name: 'deleteSSHKeyPair',
  about: 'Deletes an SSH key pair; machines that have it keep it.',
  access: 'user',
  event: { type: 'SSH.KEYPAIR.DELETE', text: 'deleting SSH key pair' },
  params: { name, ...owner },
  reply: reply.success(),
  run: async (context, params) => {
    const who = await ownerOf(context, params);
    const { affected } = await context.db.transact((tx) =>
      tx.update(sshKeyPairs, { accountId: who.accountId, name: params.name, removedAt: IsNull() }, { removedAt: new Date() }),
    );
    if (!affected) throw noKey(params.name);
  },
});

export const listSSHKeyPairs = command({
  name: 'listSSHKeyPairs',
  about: 'Lists SSH key pairs.',
  access: 'user',
  params: {
    ...pageParams,
    ...ownerParams,
    id: p.entity('the key pair of this id', sshKeyPairKind, 'list'),
    name: p.string('the key pair of this name'),
    fingerprint: p.string('the key pair with this fingerprint'),
  },
  reply: reply.list(keyPairView),
  run: (context, params) =>
    list(context, params, {
      from: 'ssh_key_pair t',
      where: [
        where.sql('t.removed_at IS NULL'),
        where.equal('t.id', params.id?.id),
        where.equal('t.name', params.name),
        where.equal('t.fingerprint', params.fingerprint),
      ],
      keyword: ['t.name', 't.fingerprint'],
      scope: { ...params, byId: params.id !== undefined },
      load: (ids) => loadKeyPairs(context.db, ids),
    }),
});
