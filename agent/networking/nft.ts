/** nft reads rules from a file: its `-` means /dev/stdin, which cannot be opened when standard input is one of Node's sockets. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { attempt, type Outcome } from '../processes.ts';

export async function nftFile(ruleset: string, flags: readonly '--check'[] = []): Promise<Outcome> {
  const room = await mkdtemp(join(tmpdir(), 'nephos-rules-'));
  try {
    const path = join(room, 'rules.nft');
    await writeFile(path, ruleset);
    return await attempt('nft', [...flags, '-f', path]);
  } finally {
    await rm(room, { recursive: true, force: true });
  }
}
