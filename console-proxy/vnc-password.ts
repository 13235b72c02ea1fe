/** The answer to VNC authentication's challenge. */
import { createCipheriv } from 'node:crypto';

const reverseBits = (byte: number): number => {
  let reversed = 0;
  for (let bit = 0; bit < 8; bit += 1) if (byte & (1 << bit)) reversed |= 0x80 >> bit;
  return reversed;
};

/** VNC takes the password's bytes as a DES key with the bits of each byte in the opposite order, and encrypts each half by itself. */
export function answerChallenge(password: string, challenge: Buffer): Buffer {
  const key = Buffer.alloc(8);
  key.write(password, 'latin1');
  const desKey = Buffer.from(key.map(reverseBits));
  // OpenSSL 3 no longer offers DES. Triple DES with one key three times is the same: it encrypts, decrypts and encrypts again.
  const cipher = createCipheriv('des-ede3-ecb', Buffer.concat([desKey, desKey, desKey]), null).setAutoPadding(false);
  return Buffer.concat([cipher.update(challenge), cipher.final()]);
}
