import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newId } from '../protocol/ids.ts';
import { type SessionTable, sessionTable, type ToldSession, tokenSha256 } from './session.ts';

const T0 = 1_000_000;
const tell = (token: string, over: Partial<ToldSession> = {}): ToldSession => ({
  sessionId: newId('consoleSession'),
  tokenSha256: tokenSha256(token),
  machineId: newId('machine'),
  title: 'web-1',
  target: { host: '192.0.2.7', port: 5901, password: 'abcdefgh' },
  expiresAt: T0 + 60_000,
  clientAddress: null,
  ...over,
});
const table = (sessionsMax = 50): SessionTable => sessionTable(() => ({ sessionsMax, idleTimeoutSeconds: 10 }));
const refusalOf = (outcome: ReturnType<SessionTable['acquire']>): string => ('refusal' in outcome ? outcome.refusal : 'acquired');

test('a token opens its session once', () => {
  const sessions = table();
  sessions.open(tell('secret'), T0);
  assert.equal(refusalOf(sessions.acquire('Secret', '10.0.0.9', T0)), 'unknown');
  assert.equal(sessions.connected, 0);
  assert.equal(refusalOf(sessions.acquire('secret', '10.0.0.9', T0)), 'acquired');
  assert.equal(sessions.connected, 1);
  assert.equal(refusalOf(sessions.acquire('secret', '10.0.0.9', T0)), 'used');
  assert.deepEqual(
    sessions.list().map(({ state, clientAddress, acquiredAt }) => ({ state, clientAddress, acquiredAt })),
    [{ state: 'Connected', clientAddress: '10.0.0.9', acquiredAt: T0 }],
  );
});

test('looking uses nothing up', () => {
  const sessions = table();
  sessions.open(tell('secret'), T0);
  assert.equal(sessions.look('secret', 'c')?.refusal, null);
  assert.equal(sessions.look('other', 'c'), null);
  assert.equal(refusalOf(sessions.acquire('secret', 'c', T0)), 'acquired');
  assert.equal(sessions.look('secret', 'c')?.refusal, 'used');
});

test('a token expires at its time and not before', () => {
  const sessions = table();
  sessions.open(tell('a'), T0);
  sessions.open(tell('b'), T0);
  assert.equal(refusalOf(sessions.acquire('a', 'c', T0 + 59_999)), 'acquired');
  assert.equal(refusalOf(sessions.acquire('b', 'c', T0 + 60_000)), 'expired');
  sessions.open(tell('late', { expiresAt: T0 - 1 }), T0);
  assert.equal(refusalOf(sessions.acquire('late', 'c', T0)), 'expired');
});

test('the sweep expires what nobody came for', () => {
  const sessions = table();
  const told = tell('a');
  sessions.open(told, T0);
  assert.deepEqual(sessions.sweep(T0 + 1000), { changed: false, idle: [] });
  assert.equal(sessions.sweep(T0 + 61_000).changed, true);
  assert.equal(sessions.list()[0]?.state, 'Expired');
  assert.equal(sessions.list()[0]?.endedAt, told.expiresAt);
  assert.equal(sessions.sweep(T0 + 62_000).changed, false);
});

test('only the client it was made for may use it', () => {
  const sessions = table();
  sessions.open(tell('a', { clientAddress: '10.0.0.9' }), T0);
  assert.equal(sessions.look('a', '10.0.0.8')?.refusal, 'wrong client');
  assert.equal(sessions.look('a', '10.0.0.9')?.refusal, null);
  assert.equal(refusalOf(sessions.acquire('a', '10.0.0.8', T0)), 'wrong client');
  assert.equal(refusalOf(sessions.acquire('a', '10.0.0.9', T0)), 'acquired');
  assert.equal(sessions.look('a', '10.0.0.8')?.refusal, 'wrong client', 'not even that it was used');
});

test('a full proxy refuses and leaves the link usable', () => {
  const sessions = table(2);
  const told = ['a', 'b', 'c'].map((token) => tell(token));
  for (const one of told) sessions.open(one, T0);
  assert.equal(refusalOf(sessions.acquire('a', 'x', T0)), 'acquired');
  assert.equal(refusalOf(sessions.acquire('b', 'x', T0)), 'acquired');
  assert.equal(refusalOf(sessions.acquire('c', 'x', T0)), 'full');
  assert.equal(sessions.end(told[0]!.sessionId, 'The browser left.', T0), true);
  assert.equal(sessions.end(told[0]!.sessionId, 'again', T0), false);
  assert.equal(sessions.connected, 1);
  assert.equal(refusalOf(sessions.acquire('c', 'x', T0)), 'acquired');
});

test('a session closed before it was opened says so', () => {
  const sessions = table();
  const told = tell('a');
  sessions.open(told, T0);
  assert.equal(sessions.end(told.sessionId, 'The account was disabled.', T0), true);
  assert.equal(refusalOf(sessions.acquire('a', 'x', T0)), 'closed');
  assert.equal(sessions.look('a', 'x')?.session.reason, 'The account was disabled.');
});

test('telling twice changes nothing; a used session is not opened again', () => {
  const sessions = table();
  const told = tell('a');
  sessions.open(told, T0);
  sessions.open(told, T0);
  assert.equal(sessions.list().length, 1);
  sessions.acquire('a', 'x', T0);
  sessions.open({ ...told, tokenSha256: tokenSha256('b') }, T0);
  assert.equal(refusalOf(sessions.acquire('a', 'x', T0)), 'used');
  assert.equal(refusalOf(sessions.acquire('b', 'x', T0)), 'unknown');
  assert.throws(() => sessions.open(tell('a'), T0), /another console session has this token/);
});

test('idle sessions are named until they end, and what the user does puts it off', () => {
  const sessions = table();
  const told = tell('a');
  sessions.open(told, T0);
  sessions.acquire('a', 'x', T0);
  assert.deepEqual(sessions.sweep(T0 + 9999).idle, []);
  sessions.touch(told.sessionId, T0 + 9999);
  assert.deepEqual(sessions.sweep(T0 + 19_998).idle, []);
  assert.deepEqual(sessions.sweep(T0 + 19_999).idle, [told.sessionId]);
});

test('what is old is forgotten and never grows without bound', () => {
  const sessions = table();
  for (let index = 0; index < 7000; index += 1) {
    const told = tell(`t${index}`);
    sessions.open(told, T0);
    sessions.end(told.sessionId, 'over', T0);
  }
  sessions.sweep(T0 + 1);
  assert.equal(sessions.list().length, 5000);
  sessions.sweep(T0 + 3600_000);
  assert.equal(sessions.list().length, 0);
  assert.equal(sessions.connected, 0);
});
