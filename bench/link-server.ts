/**
 * The server's half of the link benchmarks, in a process of its own so that its CPU time is its own. Started by the others; the
 * authority is kept in the directory of the first argument, so that a second start is a restart.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { memoryRecords, openCloud } from '../management/core/agents.testing.ts';
import { openCertificates, type StoredAuthority } from '../management/core/certificates.ts';
import { openSecrets } from '../management/core/secrets.ts';
import type { PeerKind } from '../protocol/kinds.ts';

const [directory = '', port = '0', beatMs = '5000'] = process.argv.slice(2);
await mkdir(directory, { recursive: true });
const path = join(directory, 'authority.json');
const certificates = await openCertificates({
  secrets: await openSecrets(join(directory, 'keys')),
  store: {
    read: async () => {
      const text = await readFile(path, 'utf8').catch(() => null);
      return text === null ? null : (JSON.parse(text) as StoredAuthority);
    },
    writeOnce: async (authority) => {
      await writeFile(path, JSON.stringify(authority));
      return authority;
    },
  },
});
const records = memoryRecords();
const cloud = await openCloud({ certificates, records, port: Number(port), beatMs: Number(beatMs), timing: { linkGraceMs: 5000 } });
let beats = 0;
cloud.hub.onBeat(() => {
  beats += 1;
});

export type FromServer =
  | { readonly is: 'ready'; readonly port: number; readonly caSha256: string }
  | { readonly is: 'tokens'; readonly tokens: readonly string[] }
  | {
      readonly is: 'figures';
      readonly up: number;
      readonly waiting: number;
      readonly beats: number;
      readonly cpuSeconds: number;
      readonly residentMib: number;
      readonly refused: Readonly<Record<string, number>>;
    };
export type ToServer =
  | { readonly ask: 'tokens'; readonly kind: PeerKind; readonly ids: readonly string[] }
  /** These have joined an earlier server of this authority. */
  | { readonly ask: 'known'; readonly kind: PeerKind; readonly ids: readonly string[] }
  | { readonly ask: 'figures' };

const send = (reply: FromServer): void => {
  process.send?.(reply);
};
process.on('message', (question: ToServer) => {
  if (question.ask === 'figures') {
    const { user, system } = process.cpuUsage();
    const connected = cloud.hub.connected();
    send({
      is: 'figures',
      up: connected.filter(({ state }) => state === 'Up').length,
      waiting: cloud.hub.counts.waiting,
      beats,
      cpuSeconds: (user + system) / 1e6,
      residentMib: process.memoryUsage.rss() / 1024 / 1024,
      refused: cloud.hub.counts.refused,
    });
    return;
  }
  const tokens = question.ids.map((id) => records.newToken({ kind: question.kind, id }));
  send({ is: 'tokens', tokens });
});
process.on('disconnect', () => process.exit(0));
send({ is: 'ready', port: cloud.hub.port, caSha256: certificates.caSha256 });
