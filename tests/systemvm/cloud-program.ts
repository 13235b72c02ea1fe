/** For tests: two management servers' hubs in the namespace this runs in. Asks come as lines on standard input. */
import { createInterface } from 'node:readline';
import { memoryAuthority, memoryRecords, newPeer, openCloud } from '../../management/core/agents.testing.ts';
import type { PeerKind } from '../../protocol/kinds.ts';
import { call } from '../../protocol/message.ts';
import { ApplyRouter, ReadRouter } from '../../protocol/messages/router.ts';
import { ApplyAuthorizedKeys, DescribeSystemVm } from '../../protocol/messages/systemvm.ts';

const addresses = process.argv.slice(2);
const [certificates, records] = [await memoryAuthority(), memoryRecords()];
const clouds = await Promise.all(
  addresses.map((host) => openCloud({ certificates, records, host, port: 8250, names: [host], beatMs: 300 })),
);
const messages = { ApplyRouter, ReadRouter, ApplyAuthorizedKeys, DescribeSystemVm };
const closed = new Set<number>();

interface Wish {
  readonly what: string;
  readonly kind: PeerKind;
  readonly id: string;
  readonly index: number;
  readonly message: keyof typeof messages;
  readonly body: never;
}
const answers: Record<string, (wish: Wish) => Promise<unknown>> = {
  newPeer: async ({ kind }) => newPeer(kind).id,
  token: async ({ kind, id }) => ({ token: records.newToken({ kind, id }), caSha256: certificates.caSha256 }),
  state: async ({ id }) => {
    const at = clouds.findIndex(({ hub }, index) => !closed.has(index) && hub.isUp(id));
    const agent = clouds[at]?.hub.connected().find(({ peer }) => peer.id === id);
    return {
      state: records.states.get(id) ?? null,
      server: at,
      address: agent?.address ?? null,
      serials: records.serials.get(id)?.length ?? 0,
    };
  },
  ask: async ({ kind, id, message, body }) => {
    const cloud = clouds.find(({ hub }, index) => !closed.has(index) && hub.isUp(id)) ?? clouds[0];
    return await cloud?.hub.ask({ kind, id }, call<never, unknown>(messages[message] as never, body), { requestId: 'test' });
  },
  closeHub: async ({ index }) => {
    closed.add(index);
    await clouds[index]?.hub.close();
  },
};

process.stdout.write('ready\n');
for await (const line of createInterface({ input: process.stdin })) {
  const { number, ...wish } = JSON.parse(line);
  void (answers[wish.what]?.(wish) ?? Promise.reject(new Error(wish.what))).then(
    (answer) => process.stdout.write(`${JSON.stringify({ number, answer: answer ?? null })}\n`),
    (error: unknown) => process.stdout.write(`${JSON.stringify({ number, error: String(error) })}\n`),
  );
}
for (const { hub } of clouds) await hub.close();
