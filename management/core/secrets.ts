/** What keeps secrets secret: the master key outside the database, sealing at rest, password hashes and tokens. */
import { createCipheriv, createDecipheriv, createHash, randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto';
import { link, mkdir, open, readFile, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { CloudError } from '../../protocol/errors.ts';
import { Secret } from '../../protocol/schema.ts';

const KEY_BYTES = 32;
const IV_BYTES = 12;
const TAG_BYTES = 16;
const SEAL_VERSION = 'v1';

export interface Secrets {
  /** Encrypts and authenticates; two seals of one text differ. */
  readonly seal: (text: Secret | string) => string;
  /** Throws when the text was not sealed with this master key, or was changed. */
  readonly open: (sealed: string) => Secret;
}

/** Reads the master key of `<directory>/master.key`, which is made at the first start. */
export async function openSecrets(directory: string): Promise<Secrets> {
  const path = join(directory, 'master.key');
  const key = (await readKey(path)) ?? (await createKey(directory, path));
  return secretsWith(key);
}

export function secretsWith(key: Buffer): Secrets {
  if (key.length !== KEY_BYTES) throw new CloudError('Internal', `the master key must be of ${KEY_BYTES} bytes`);
  const associated = Buffer.from(SEAL_VERSION);
  return {
    seal(text) {
      const iv = randomBytes(IV_BYTES);
      const cipher = createCipheriv('aes-256-gcm', key, iv, { authTagLength: TAG_BYTES }).setAAD(associated);
      const encrypted = Buffer.concat([cipher.update(revealed(text), 'utf8'), cipher.final()]);
      return `${SEAL_VERSION}.${Buffer.concat([iv, cipher.getAuthTag(), encrypted]).toString('base64')}`;
    },
    open(sealed) {
      const [version, body] = sealed.split('.');
      const bytes = Buffer.from(body ?? '', 'base64');
      if (version !== SEAL_VERSION || bytes.length < IV_BYTES + TAG_BYTES) throw new CloudError('Internal', 'a sealed value is malformed');
      try {
        const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES })
          .setAAD(associated)
          .setAuthTag(bytes.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
        const text = Buffer.concat([decipher.update(bytes.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]);
        return new Secret(text.toString('utf8'));
      } catch (cause) {
        throw new CloudError('Internal', 'a sealed value cannot be opened with this master key', { cause });
      }
    },
  };
}

async function readKey(path: string): Promise<Buffer | null> {
  try {
    const key = await readFile(path);
    const { mode } = await stat(path);
    if ((mode & 0o077) !== 0) throw new CloudError('Internal', `${path} must be readable by its owner alone (chmod 600)`);
    return key;
  } catch (error) {
    if (typeof error === 'object' && error !== null && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
}

async function createKey(directory: string, path: string): Promise<Buffer> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const fresh = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`;
  const file = await open(fresh, 'wx', 0o600);
  try {
    await file.writeFile(randomBytes(KEY_BYTES));
    await file.sync();
  } finally {
    await file.close();
  }
  try {
    // A link, unlike a rename, never replaces a key that another process made at the same moment.
    await link(fresh, path);
  } catch (error) {
    if (!(typeof error === 'object' && error !== null && 'code' in error && error.code === 'EEXIST')) throw error;
  } finally {
    await unlink(fresh);
  }
  const key = await readKey(path);
  if (key === null) throw new CloudError('Internal', `${path} vanished while it was being made`);
  return key;
}

const revealed = (text: Secret | string): string => (typeof text === 'string' ? text : text.reveal());

const SCRYPT = { cost: 32_768, blockSize: 8, parallelization: 3 } as const;
const HASH_BYTES = 32;
const SALT_BYTES = 16;

const derive = (password: string, salt: Buffer, bytes: number, options: ScryptOptions): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    scrypt(password.normalize('NFC'), salt, bytes, { ...options, maxmem: 256 * 1024 * 1024 }, (error, key) =>
      error === null ? resolve(key) : reject(error),
    );
  });

/** `scrypt$N$r$p$salt$hash`; takes some tenths of a second in a thread of its own. */
export async function hashPassword(password: Secret | string): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  const hash = await derive(revealed(password), salt, HASH_BYTES, SCRYPT);
  const { cost, blockSize, parallelization } = SCRYPT;
  return ['scrypt', cost, blockSize, parallelization, salt.toString('base64'), hash.toString('base64')].join('$');
}

/** False also for a hash that cannot be read: an account with a damaged hash cannot be entered. */
export async function verifyPassword(password: Secret | string, stored: string): Promise<boolean> {
  const match = /^scrypt\$(\d{1,8})\$(\d{1,2})\$(\d{1,2})\$([A-Za-z0-9+/=]{16,})\$([A-Za-z0-9+/=]{16,})$/.exec(stored);
  const [, cost, blockSize, parallelization, salt, hash] = match ?? [];
  if (salt === undefined || hash === undefined) return false;
  const expected = Buffer.from(hash, 'base64');
  const options = { cost: Number(cost), blockSize: Number(blockSize), parallelization: Number(parallelization) };
  return timingSafeEqual(await derive(revealed(password), Buffer.from(salt, 'base64'), expected.length, options), expected);
}

/** Random text for URLs and command lines: 256 bits unless said. */
export const newToken = (bytes = 32): string => randomBytes(bytes).toString('base64url');

export const sha256Hex = (text: Secret | string | Buffer): string =>
  createHash('sha256')
    .update(Buffer.isBuffer(text) ? text : revealed(text))
    .digest('hex');

/** Compares in a time that does not depend on where the two differ. */
export const equalSecrets = (left: Secret | string, right: Secret | string): boolean =>
  timingSafeEqual(createHash('sha256').update(revealed(left)).digest(), createHash('sha256').update(revealed(right)).digest());
