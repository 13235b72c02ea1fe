import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DELAY_MAX_MS, delayMs, dial } from './reconnect.ts';

/** A clock that jumps to the next timer as soon as nobody has anything left to do. */
function simulatedClock() {
  let now = 0;
  const timers: { at: number; go: () => void }[] = [];
  const after = (ms: number, go: () => void) => {
    const timer = { at: now + ms, go };
    timers.push(timer);
    return () => {
      const index = timers.indexOf(timer);
      if (index >= 0) timers.splice(index, 1);
    };
  };
  return {
    now: () => now,
    sleep: (ms: number, signal: AbortSignal) =>
      new Promise<void>((resolve) => {
        if (signal.aborted) return resolve();
        const cancel = after(ms, () => {
          signal.removeEventListener('abort', onAbort);
          resolve();
        });
        const onAbort = () => {
          cancel();
          resolve();
        };
        signal.addEventListener('abort', onAbort, { once: true });
      }),
    async run(until: () => boolean, limitMs: number): Promise<void> {
      while (!until()) {
        for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
        if (until()) return;
        const next = timers.sort((a, b) => a.at - b.at).shift();
        assert.ok(next !== undefined && next.at <= limitMs, `nothing happened until ${limitMs} ms`);
        now = next.at;
        next.go();
      }
    },
  };
}

function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** What a server that is down does with a connection: refuse it, swallow it, or take it and never speak. */
type Downtime = 'refuses' | 'swallows' | 'stalls';

test('SV-19 from any history an agent has a server within ten seconds after one is up', async () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = randomOf(seed);
    const clock = simulatedClock();
    const servers = Array.from({ length: 1 + Math.floor(random() * 5) }, (_, index) => `server-${index}:8250`);
    const upServer = servers[Math.floor(random() * servers.length)] ?? '';
    const upAt = random() * 120_000;
    const how = new Map(servers.map((server) => [server, (['refuses', 'swallows', 'stalls'] as const)[Math.floor(random() * 3)]]));
    let connectedAt: number | null = null;
    const ended = new AbortController();
    void dial({
      servers,
      random,
      failures: random() < 0.3 ? null : Math.floor(random() * 20),
      signal: ended.signal,
      sleep: clock.sleep,
      now: clock.now,
      discard: () => {},
      onFailure: () => {},
      attempt: async (server, signal) => {
        if (server === upServer && clock.now() >= upAt) {
          await clock.sleep(40, signal);
          return server;
        }
        const downtime: Downtime = how.get(server) ?? 'refuses';
        if (downtime !== 'refuses') await clock.sleep(20_000, signal);
        throw new Error('down');
      },
    }).then((server) => {
      assert.equal(server, upServer);
      connectedAt = clock.now();
    });
    await clock.run(() => connectedAt !== null, upAt + 60_000);
    assert.ok(
      connectedAt !== null && connectedAt - upAt <= 10_000,
      `seed ${seed}: ${(connectedAt ?? 0) - upAt} ms with ${servers.length} servers`,
    );
  }
});

test('SV-19 attempts on a server that hangs are bounded in number, and closing ends them', async () => {
  const clock = simulatedClock();
  let open = 0;
  let most = 0;
  const ended = new AbortController();
  let failure: unknown = null;
  dial({
    servers: ['a:1'],
    random: Math.random,
    failures: 0,
    signal: ended.signal,
    sleep: clock.sleep,
    now: clock.now,
    discard: () => {},
    onFailure: () => {},
    attempt: async (_server, signal) => {
      most = Math.max(most, ++open);
      await clock.sleep(1_000_000, signal);
      open -= 1;
      throw new Error('gone');
    },
  }).catch((error: unknown) => {
    failure = error;
  });
  await clock.run(() => clock.now() > 60_000, 70_000);
  assert.ok(most >= 2 && most <= 4, `${most} at once`);
  ended.abort(new Error('closed'));
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(open, 0);
  assert.match(String(failure), /closed/);
});

test('delays grow, are bounded, and differ between agents', () => {
  for (let failures = 0; failures < 40; failures++) {
    assert.ok(delayMs(failures, () => 0.999) <= DELAY_MAX_MS);
    assert.ok(delayMs(failures, () => 0) >= 125);
    assert.ok(delayMs(failures, () => 0.9) > delayMs(failures, () => 0.1));
  }
  assert.ok(delayMs(0, () => 1) <= 250);
});
