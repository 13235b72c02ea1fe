import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { after, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { CloudError } from '../../protocol/errors.ts';
import { type AgentLink, type AgentLinkOptions, type AgentLinkTiming, openAgentLink } from '../../protocol/link/agent-link.ts';
import { fileIdentityStore, memoryIdentityStore } from '../../protocol/link/identity.ts';
import { call, message, on } from '../../protocol/message.ts';
import type { Beat } from '../../protocol/messages/beat.ts';
import { s } from '../../protocol/schema.ts';
import { type Cloud, memoryAuthority, newPeer, openCloud, silentLog } from './agents.testing.ts';
import type { Peer } from './agents.ts';

const Echo = message({
  name: 'test.echo',
  ask: s.object({ text: s.text({ max: 2 ** 26 }) }),
  answer: s.text({ max: 2 ** 26 }),
  patience: 'fast',
});
const echo = on(Echo, async ({ text }) => text);
const requestId = 'r-1';

const cleanups: (() => Promise<unknown> | unknown)[] = [];
after(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

const until = async (what: string, holds: () => boolean, limitMs = 8000): Promise<void> => {
  const end = performance.now() + limitMs;
  while (!holds()) {
    assert.ok(performance.now() < end, `never happened: ${what}`);
    await wait(5);
  }
};

async function cloudOf(options: Parameters<typeof openCloud>[0] = {}): Promise<Cloud> {
  const cloud = await openCloud(options);
  cleanups.push(() => cloud.hub.close());
  return cloud;
}
function agentOf(cloud: Cloud, peer: Peer, options: Partial<AgentLinkOptions> = {}, timing: Partial<AgentLinkTiming> = {}): AgentLink {
  const link = openAgentLink(
    {
      ...peer,
      servers: [cloud.server],
      join: { token: cloud.records.newToken(peer), caSha256: cloud.certificates.caSha256 },
      store: memoryIdentityStore(),
      version: '1.0',
      handlers: [echo],
      beat: async () => ({}),
      log: silentLog,
      ...options,
    },
    timing,
  );
  cleanups.push(() => link.close());
  return link;
}
const stateOf = (cloud: Cloud, peer: Peer) => cloud.records.states.get(peer.id);

/** A network that lets through so many bytes each 20 ms. */
const narrow = (bytes: number): Transform =>
  new Transform({
    transform(chunk: Buffer, _encoding, done) {
      void (async () => {
        for (let at = 0; at < chunk.length; at += bytes) {
          this.push(chunk.subarray(at, at + bytes));
          await wait(20);
        }
        done();
      })();
    },
  });

/** A TCP relay, as a host runs it for its routers, that can go silent without closing anything. */
async function relayTo(server: string, bytesPer20Ms: number | null = null) {
  const [host = '', port = ''] = server.split(':');
  const pairs: { from: Socket; to: Socket }[] = [];
  let refusing = false;
  const relay = createServer((from) => {
    if (refusing) return void from.destroy();
    const to = connect(Number(port), host);
    pairs.push({ from, to });
    if (bytesPer20Ms === null) from.pipe(to);
    else from.pipe(narrow(bytesPer20Ms)).pipe(to);
    to.pipe(from);
    for (const socket of [from, to]) socket.on('error', () => {});
    from.on('close', () => to.destroy());
    to.on('close', () => from.destroy());
  });
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    cut();
    relay.close();
  });
  const cut = () => {
    for (const { from, to } of pairs.splice(0)) {
      from.destroy();
      to.destroy();
    }
  };
  return {
    address: `127.0.0.1:${(relay.address() as AddressInfo).port}`,
    cut,
    /** What a power failure or SIGSTOP looks like from the other end. */
    silence: ({ refuseNew = false } = {}) => {
      refusing = refuseNew;
      for (const { from, to } of pairs) {
        from.unpipe(to);
        to.unpipe(from);
        from.pause();
        to.pause();
      }
    },
    mend: () => {
      refusing = false;
    },
  };
}

test('SV-19 an agent joins with its token, is Connecting until it has been made ready, then Up', async () => {
  let finishPrepare = (): void => {};
  const prepared: string[] = [];
  const cloud = await cloudOf({
    prepare: async (_peer, ask, { version }) => {
      prepared.push(version, await ask(call(Echo, { text: 'before up' }), { requestId }));
      await new Promise<void>((resolve) => {
        finishPrepare = resolve;
      });
    },
  });
  const peer = newPeer('secondary-storage');
  let ups = 0;
  const link = agentOf(cloud, peer, { onUp: () => (ups += 1) });
  await until('prepare was called', () => prepared.length === 2);
  assert.deepEqual(prepared, ['1.0', 'before up']);
  assert.equal(stateOf(cloud, peer), 'Connecting');
  assert.equal(cloud.hub.isUp(peer.id), false);
  await assert.rejects(cloud.hub.ask(peer, call(Echo, { text: 'x' }), { requestId }), { code: 'Unreachable' });
  const early = cloud.hub.ask(peer, call(Echo, { text: 'waits' }), { requestId, linkGraceSeconds: 5 });
  finishPrepare();
  assert.equal(await early, 'waits');
  assert.equal(stateOf(cloud, peer), 'Up');
  assert.deepEqual(cloud.records.moves, ['connect>Connecting', 'ready>Up']);
  assert.equal(link.state, 'up');
  assert.equal(ups, 1);
  assert.equal(cloud.hub.any({ kind: 'secondary-storage', ids: [newPeer().id, peer.id] }).id, peer.id);
  assert.throws(() => cloud.hub.any({ kind: 'host', ids: [peer.id] }), { code: 'Unreachable' });
  const certificate = new X509Certificate(link.identity()?.certificatePem ?? '');
  assert.equal(certificate.subjectAltName, `URI:nephos://secondary-storage/${peer.id}`);
  const [connected] = cloud.hub.connected();
  assert.deepEqual([connected?.peer, connected?.state, connected?.version], [peer, 'Up', '1.0']);
  assert.equal(cloud.hub.counts.connected, 1);
});

test('SV-19 a host keeps its identity in a file of its own and comes back with it, without a token', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'nephos-identity-'));
  cleanups.push(() => rm(directory, { recursive: true, force: true }));
  const cloud = await cloudOf();
  const peer = newPeer();
  const store = fileIdentityStore(join(directory, 'agent'));
  const first = agentOf(cloud, peer, { store });
  await until('up', () => stateOf(cloud, peer) === 'Up');
  await first.close();
  await until('stopped', () => stateOf(cloud, peer) === 'Disconnected');
  assert.equal((await stat(join(directory, 'agent', 'identity.json'))).mode & 0o777, 0o600);
  agentOf(cloud, peer, { store, join: null });
  await until('up again', () => stateOf(cloud, peer) === 'Up');
  assert.equal(cloud.records.serials.get(peer.id)?.length, 1);
});

test('SV-20 a graceful stop is Disconnected, not Alert', async () => {
  const cloud = await cloudOf();
  const peer = newPeer('router');
  const downs: string[] = [];
  cloud.hub.onDown((_peer, how) => downs.push(how));
  const link = agentOf(cloud, peer);
  await until('up', () => stateOf(cloud, peer) === 'Up');
  await link.close();
  await until('disconnected', () => stateOf(cloud, peer) === 'Disconnected');
  assert.equal(link.state, 'closed');
  assert.deepEqual(downs, ['disconnected']);
  assert.deepEqual(cloud.records.moves, ['connect>Connecting', 'ready>Up', 'disconnect>Disconnected']);
});

test('SV-20 a link that goes silent is Alert after three heartbeats, noticed at both ends, and Up again without a restart', async () => {
  const beatMs = 200;
  const cloud = await cloudOf({ beatMs });
  const relay = await relayTo(cloud.server);
  const peer = newPeer();
  const downs: string[] = [];
  cloud.hub.onDown((_peer, how) => downs.push(how));
  let ups = 0;
  agentOf(cloud, peer, { servers: [relay.address], onUp: () => (ups += 1) });
  await until('up', () => stateOf(cloud, peer) === 'Up' && ups === 1);
  await new Promise<void>((resolve) => cloud.hub.onBeat(() => resolve()));
  const since = performance.now();
  // Nor may it come back before the server has noticed: the new link would only replace the old one.
  relay.silence({ refuseNew: true });
  // Counted in turns of this process's own clock: while it stands still it cannot notice anything.
  let turns = 0;
  const clock = setInterval(() => (turns += 1), beatMs);
  cleanups.push(() => clearInterval(clock));
  await until('alert', () => stateOf(cloud, peer) === 'Alert');
  clearInterval(clock);
  const tookMs = performance.now() - since;
  assert.ok(tookMs > 2.9 * beatMs, `${tookMs} ms with heartbeats of ${beatMs} ms`);
  assert.ok(turns <= 8, `${turns} turns of ${beatMs} ms`);
  assert.deepEqual(downs, ['lost']);
  relay.mend();
  await until('up again', () => stateOf(cloud, peer) === 'Up' && ups === 2);
  assert.deepEqual(cloud.records.moves, ['connect>Connecting', 'ready>Up', 'lose>Alert', 'connect>Connecting', 'ready>Up']);
});

test('SV-20 a broken socket without a goodbye is Alert at once', async () => {
  const cloud = await cloudOf();
  const relay = await relayTo(cloud.server);
  const peer = newPeer();
  agentOf(cloud, peer, { servers: [relay.address] });
  await until('up', () => stateOf(cloud, peer) === 'Up');
  relay.cut();
  await until('back', () => cloud.records.moves.length === 5);
  assert.deepEqual(cloud.records.moves.slice(2), ['lose>Alert', 'connect>Connecting', 'ready>Up']);
});

test('SV-19 agents come back after a restart of the management server, and one that does not is Alert', async () => {
  const first = await openCloud({ beatMs: 200 });
  const [back, gone] = [newPeer(), newPeer()];
  agentOf(first, back);
  const goneLink = agentOf(first, gone);
  await until('both up', () => stateOf(first, back) === 'Up' && stateOf(first, gone) === 'Up');
  await first.hub.close();
  assert.equal(stateOf(first, back), 'Up', 'a restart of management is no news about its agents');
  await goneLink.close();
  const second = await cloudOf({ records: first.records, certificates: first.certificates, port: first.hub.port, beatMs: 200 });
  await until('back', () => second.hub.isUp(back.id));
  assert.equal(await second.hub.ask(back.id, call(Echo, { text: 'again' }), { requestId }), 'again');
  await until('alert', () => stateOf(second, gone) === 'Alert');
  assert.equal(stateOf(second, back), 'Up');
  assert.equal(first.records.serials.get(back.id)?.length, 1, 'it came back with its certificate, not with its token');
});

test('SV-19 with several management servers an agent finds the one that is up', async () => {
  const dead = createServer();
  await new Promise<void>((resolve) => dead.listen(0, '127.0.0.1', resolve));
  const stalled = `127.0.0.1:${(dead.address() as AddressInfo).port}`;
  cleanups.push(() => dead.close());
  const cloud = await cloudOf();
  const peer = newPeer();
  agentOf(cloud, peer, { servers: [stalled, '127.0.0.1:1', cloud.server] }, { random: () => 0 });
  await until('up', () => stateOf(cloud, peer) === 'Up');
});

test('an ask whose link breaks is asked again on the new one and joins what is running', async () => {
  const cloud = await cloudOf();
  const relay = await relayTo(cloud.server);
  const peer = newPeer();
  const seen: string[] = [];
  let finish = (): void => {};
  const slow = on(Echo, ({ text }, context) => {
    seen.push(context.requestId);
    return new Promise<string>((resolve) => {
      finish = () => resolve(text);
    });
  });
  agentOf(cloud, peer, { servers: [relay.address], handlers: [slow] });
  await until('up', () => stateOf(cloud, peer) === 'Up');
  const answer = cloud.hub.ask(peer, call(Echo, { text: 'once' }), { requestId: 'r-7', job: 'job', epoch: 1 });
  await until('asked', () => seen.length === 1);
  relay.cut();
  await until('back', () => cloud.records.moves.length === 5);
  await wait(50);
  finish();
  assert.equal(await answer, 'once');
  assert.deepEqual(seen, ['r-7']);
  assert.equal(cloud.hub.counts.asksInFlight, 0);
});

test('an answer that was lost on the way is given again without doing the work twice', async () => {
  const cloud = await cloudOf({ beatMs: 200 });
  const relay = await relayTo(cloud.server);
  const peer = newPeer();
  let runs = 0;
  const cutting = on(Echo, async ({ text }) => {
    runs += 1;
    relay.silence();
    return text;
  });
  agentOf(cloud, peer, { servers: [relay.address], handlers: [cutting] });
  await until('up', () => stateOf(cloud, peer) === 'Up');
  assert.equal(await cloud.hub.ask(peer, call(Echo, { text: 'lost' }), { requestId }), 'lost');
  assert.equal(runs, 1);
});

test('an ask of an older epoch is refused by the agent; refusals carry their code and sentence', async () => {
  const cloud = await cloudOf();
  const peer = newPeer();
  agentOf(cloud, peer);
  await until('up', () => stateOf(cloud, peer) === 'Up');
  await cloud.hub.ask(peer, call(Echo, { text: 'a' }), { requestId, job: 'j', epoch: 5 });
  await assert.rejects(cloud.hub.ask(peer, call(Echo, { text: 'a' }), { requestId, job: 'j', epoch: 4 }), {
    name: 'CloudError',
    code: 'Conflict',
    message: /no longer has the job/,
  });
  const Unknown = message({ name: 'test.unknown', ask: s.object({}), answer: s.object({}), patience: 'fast' });
  const Sandbox = message({ name: 'test.sandbox', ask: s.object({}), answer: s.object({}), patience: 'fast' });
  const broken = on(Sandbox, () => Promise.reject(new CloudError('Unavailable', 'the sandbox cannot be started')));
  const other = newPeer();
  agentOf(cloud, other, { handlers: [broken] });
  await until('the other up', () => stateOf(cloud, other) === 'Up');
  // Not Unavailable, for which a job would wait without end.
  await assert.rejects(cloud.hub.ask(other, call(Sandbox, {}), { requestId }), { code: 'ResourceUnavailable', message: /sandbox/ });
  await assert.rejects(cloud.hub.ask(peer, call(Unknown, {}), { requestId }), { code: 'ResourceUnavailable' });
  const Wrong = message({ name: 'test.echo', ask: s.object({ text: s.string() }), answer: s.int(), patience: 'fast' });
  await assert.rejects(cloud.hub.ask(peer, call(Wrong, { text: 'a' }), { requestId }), { code: 'Internal', message: /makes no sense/ });
});

test('an ask ends as Unreachable without a link, when its agent is dropped, and when the link does not come back', async () => {
  const cloud = await cloudOf({ timing: { relinkGraceMs: 150 } });
  const nobody = newPeer();
  await assert.rejects(cloud.hub.ask(nobody, call(Echo, { text: 'a' }), { requestId }), { code: 'Unreachable' });
  await assert.rejects(cloud.hub.ask(nobody.id, call(Echo, { text: 'a' }), { requestId }), { code: 'Unreachable' });
  const never = on(Echo, () => new Promise<string>(() => {}));
  for (const end of ['drop', 'lose'] as const) {
    const peer = newPeer();
    const relay = await relayTo(cloud.server);
    const link = agentOf(cloud, peer, { servers: [relay.address], handlers: [never] });
    await until('up', () => stateOf(cloud, peer) === 'Up');
    const asked = cloud.hub.ask(peer, call(Echo, { text: 'a' }), { requestId });
    const failed = assert.rejects(asked, { code: 'Unreachable' }, end);
    await wait(30);
    if (end === 'drop') cloud.hub.drop(peer.id, 'its virtual machine is gone');
    else await link.close();
    await failed;
    await link.close();
  }
  const controller = new AbortController();
  const peer = newPeer();
  let working = false;
  let stopped = false;
  const stoppable = on(
    Echo,
    (_ask, { signal }) =>
      new Promise<string>((_resolve, reject) => {
        working = true;
        signal.addEventListener('abort', () => {
          stopped = true;
          reject(new Error('stopped'));
        });
      }),
  );
  agentOf(cloud, peer, { handlers: [stoppable] });
  await until('up', () => stateOf(cloud, peer) === 'Up');
  const asked = cloud.hub.ask(peer, call(Echo, { text: 'a' }), { requestId, signal: controller.signal });
  await until('the agent works', () => working);
  controller.abort();
  await assert.rejects(asked, { code: 'Unavailable' });
  await until('the agent stopped working', () => stopped);
});

test('heartbeats and bells reach their listeners; what rides on a heartbeat cannot stop it', async () => {
  const cloud = await cloudOf({ beatMs: 300 });
  const peer = newPeer('console-proxy');
  const beats: Beat[] = [];
  const bells: string[] = [];
  cloud.hub.onBeat((_peer, beat) => beats.push(beat));
  cloud.hub.onBell((from, subject) => bells.push(`${from.id} ${subject}`));
  let mode: 'good' | 'throws' | 'hangs' = 'good';
  const beat = async (): Promise<Beat> => {
    if (mode === 'throws') throw new Error('no');
    if (mode === 'hangs') await new Promise(() => {});
    return { consoleProxy: { sessions: 3 } };
  };
  const link = agentOf(cloud, peer, { beat });
  link.ring('console');
  await until('up', () => stateOf(cloud, peer) === 'Up');
  await until('the bell rung before the link was up', () => bells.length === 1);
  assert.deepEqual(bells, [`${peer.id} console`]);
  await until('a beat', () => beats.length > 0);
  assert.deepEqual(beats[0], { consoleProxy: { sessions: 3 } });
  link.ring('image');
  await until('second bell', () => bells.length === 2);
  for (mode of ['throws', 'hangs'] as const) {
    beats.length = 0;
    await until('three beats', () => beats.length >= 3);
    assert.deepEqual(beats.at(-1), {});
  }
  assert.deepEqual(cloud.records.moves, ['connect>Connecting', 'ready>Up']);
});

test('SV-19 the certificate is renewed at two thirds of its life over the link that is up', async () => {
  const cloud = await cloudOf({ validitySeconds: () => 3600, beatMs: 250 });
  let beats = 0;
  cloud.hub.onBeat(() => (beats += 1));
  const peer = newPeer();
  const store = memoryIdentityStore();
  let offsetMs = 0;
  let ups = 0;
  const link = agentOf(cloud, peer, { store, onUp: () => (ups += 1) }, { now: () => Date.now() + offsetMs });
  await until('up', () => stateOf(cloud, peer) === 'Up');
  const before = link.identity();
  offsetMs = 3600_000 * 0.65;
  // The agent looks at its certificate with each heartbeat.
  const looked = beats + 3;
  await until('three heartbeats', () => beats >= looked);
  assert.equal(link.identity(), before, 'not before two thirds');
  offsetMs = 3600_000 * 0.68;
  await until('renewed', () => link.identity() !== before);
  assert.equal(await cloud.hub.ask(peer, call(Echo, { text: 'still here' }), { requestId }), 'still here');
  assert.equal(ups, 1);
  assert.equal(cloud.records.moves.length, 2);
  const serials = cloud.records.serials.get(peer.id) ?? [];
  assert.equal(serials.length, 2);
  const after = link.identity();
  assert.notEqual(after?.keyPem, before?.keyPem);
  assert.deepEqual(await store.read(), after);
  assert.equal(new X509Certificate(after?.certificatePem ?? '').serialNumber, serials[1]);
  // The old one is worth nothing to the next connection.
  cloud.records.revoked.add(serials[0] ?? '');
  await link.close();
  offsetMs = 0;
  agentOf(cloud, peer, { store, join: null });
  await until('up with the new certificate', () => cloud.records.moves.at(-1) === 'ready>Up' && cloud.hub.isUp(peer.id));
});

test('a second link of the same agent replaces the first, without an alert', async () => {
  const cloud = await cloudOf();
  const peer = newPeer();
  const store = memoryIdentityStore();
  const first = agentOf(cloud, peer, { store });
  await until('up', () => stateOf(cloud, peer) === 'Up');
  const frozen = await store.read();
  assert.ok(frozen);
  let ups = 0;
  // The one that came first would come back; here it is stopped as soon as it notices.
  const second = agentOf(cloud, peer, { store, join: null, onUp: () => (ups += 1) });
  await until('second is up', () => ups === 1);
  await first.close();
  await until('up again', () => cloud.hub.isUp(peer.id) && second.state === 'up');
  assert.ok(!cloud.records.moves.includes('lose>Alert'), cloud.records.moves.join());
});

test('an agent whose making ready fails is tried again and stays Connecting', async () => {
  let tries = 0;
  const cloud = await cloudOf({
    prepare: async () => {
      tries += 1;
      if (tries < 3) throw new Error('not yet');
    },
  });
  const peer = newPeer();
  agentOf(cloud, peer);
  await until('up', () => stateOf(cloud, peer) === 'Up');
  assert.equal(tries, 3);
  assert.deepEqual(cloud.records.moves, ['connect>Connecting', 'ready>Up']);
});

test('a database that is away does not lose a change of state', async () => {
  const cloud = await cloudOf();
  const peer = newPeer();
  const link = agentOf(cloud, peer);
  await until('up', () => stateOf(cloud, peer) === 'Up');
  cloud.records.failure = new Error('the database is away');
  await link.close();
  await wait(100);
  assert.equal(stateOf(cloud, peer), 'Up');
  cloud.records.failure = null;
  await until('written', () => stateOf(cloud, peer) === 'Disconnected');
});

test('frames are bounded: a question or an answer that is too large is refused, and the link stays', async () => {
  const cloud = await cloudOf();
  const peer = newPeer();
  const big = on(Echo, async ({ text }) => (text === 'big' ? 'x'.repeat(17 * 1024 * 1024) : text));
  agentOf(cloud, peer, { handlers: [big] });
  await until('up', () => stateOf(cloud, peer) === 'Up');
  await assert.rejects(cloud.hub.ask(peer, call(Echo, { text: 'x'.repeat(17 * 1024 * 1024) }), { requestId }), {
    code: 'InvalidParameter',
  });
  await assert.rejects(cloud.hub.ask(peer, call(Echo, { text: 'big' }), { requestId }), { message: /16 MiB/ });
  const large = 'x'.repeat(10 * 1024 * 1024);
  assert.equal((await cloud.hub.ask(peer, call(Echo, { text: large }), { requestId })).length, large.length);
  assert.deepEqual(cloud.records.moves, ['connect>Connecting', 'ready>Up']);
  assert.equal(cloud.hub.counts.asksInFlight, 0);
});

test('SV-20 while a large answer crosses a slow network the link is not taken for dead', async () => {
  const beatMs = 400;
  const cloud = await cloudOf({ beatMs });
  const relay = await relayTo(cloud.server, 32 * 1024);
  const peer = newPeer();
  const large = on(Echo, async () => 'x'.repeat(4 * 1024 * 1024));
  agentOf(cloud, peer, { servers: [relay.address], handlers: [large] });
  await until('up', () => stateOf(cloud, peer) === 'Up');
  const since = performance.now();
  assert.equal((await cloud.hub.ask(peer, call(Echo, { text: 'all of it' }), { requestId })).length, 4 * 1024 * 1024);
  assert.ok(performance.now() - since > 4 * beatMs, 'the heartbeats had to wait behind it');
  assert.deepEqual(cloud.records.moves, ['connect>Connecting', 'ready>Up']);
});

test('an agent of another authority is not believed by one that was given the hash of its own', async () => {
  const cloud = await cloudOf();
  const other = await memoryAuthority();
  const peer = newPeer();
  agentOf(cloud, peer, { join: { token: cloud.records.newToken(peer), caSha256: other.caSha256 } });
  await wait(400);
  assert.equal(stateOf(cloud, peer), 'Creating');
  assert.equal(cloud.records.serials.size, 0);
  // Its token was never sent: the server saw no join at all.
  assert.equal(cloud.refusals.length, 0);
});

test('bells that ring often are heard together, and the last one always', async () => {
  const cloud = await cloudOf();
  const peer = newPeer();
  const bells: number[] = [];
  cloud.hub.onBell(() => bells.push(performance.now()));
  const link = agentOf(cloud, peer);
  await until('up', () => link.state === 'up');
  for (let index = 0; index < 2000; index++) link.ring('image');
  const last = performance.now();
  await until('the last bell', () => bells.length >= 2);
  await wait(300);
  assert.equal(bells.length, 2);
  assert.ok((bells[1] ?? 0) > last);
  assert.equal(cloud.hub.counts.connected, 1);
});

test('an agent that is linked to another management server is asked through that one', async () => {
  const elsewhere = newPeer();
  const forwarded: string[] = [];
  const cloud = await cloudOf({
    forward: {
      serverOf: async (id) => (id === elsewhere.id ? 'server-2' : null),
      ask: async (serverId, to, asked, options) => {
        forwarded.push(`${serverId} ${to.id} ${asked.message.name} ${options.requestId}`);
        return asked.message.answer.parse('from there');
      },
    },
  });
  assert.equal(await cloud.hub.ask(elsewhere, call(Echo, { text: 'a' }), { requestId }), 'from there');
  assert.deepEqual(forwarded, [`server-2 ${elsewhere.id} test.echo r-1`]);
  await assert.rejects(cloud.hub.ask(newPeer(), call(Echo, { text: 'a' }), { requestId }), { code: 'Unreachable' });
  const here = newPeer();
  agentOf(cloud, here);
  await until('up', () => cloud.hub.isUp(here.id));
  assert.equal(await cloud.hub.ask(here, call(Echo, { text: 'from here' }), { requestId }), 'from here');
});

test('an agent that management has removed is not let up again', async () => {
  const cloud = await cloudOf();
  const peer = newPeer();
  const link = agentOf(cloud, peer);
  await until('up', () => cloud.hub.isUp(peer.id));
  cloud.records.states.set(peer.id, 'Removed');
  cloud.hub.drop(peer.id, 'the host was deleted');
  await until('turned away', () => cloud.refusals.some(({ reason }) => reason === 'removed'));
  assert.equal(cloud.hub.isUp(peer.id), false);
  assert.equal(cloud.records.states.get(peer.id), 'Removed');
  await link.close();
});
