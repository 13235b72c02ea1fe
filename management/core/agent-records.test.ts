import assert from 'node:assert/strict';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { withScratchDatabase } from '../../lab/services.ts';
import { newAgent, newJoinToken, openAgentRecords, removeAgent } from './agent-records.ts';
import { memoryAuthority, newPeer, silentLog } from './agents.testing.ts';
import { openAgentHub, type Peer, type Refusal } from './agents.ts';
import { asTables } from './area.ts';
import { type Database, openDatabase } from './db.ts';
import { sha256Hex } from './secrets.ts';
import { agents, coreTables } from './tables.ts';

test('SV-19 when an agent is removed none of its certificates counts any more, those before a renewal neither', async () => {
  await withScratchDatabase(async ({ database }) => {
    const db = await openDatabase({ ...database, poolSize: 4 }, asTables(...coreTables), [], silentLog);
    await db.source.synchronize();
    const records = await openAgentRecords(db, () => {});
    const certificates = await memoryAuthority();
    const refusals: Refusal[] = [];
    const hub = await openAgentHub({
      serverId: randomUUID(),
      host: '127.0.0.1',
      port: 0,
      names: ['127.0.0.1'],
      certificates,
      records,
      prepare: async () => {},
      file: async () => null,
      onRefused: (refusal) => void refusals.push(refusal),
      timing: { refusalRepeatMs: 0 },
      log: silentLog,
    });
    try {
      const peer = newPeer();
      const token = await db.transact(async (tx) => {
        await newAgent(tx, { ...peer, zoneId: null, address: null });
        return newJoinToken(tx, peer);
      });
      /** A certificate as a join or a renewal hands it out. */
      const issue = async (validitySeconds: number) => {
        const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
        const issued = certificates.issue({ ...peer, publicKey, validitySeconds });
        await records.issued(peer, issued);
        return { cert: issued.certificatePem, key: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(), serial: issued.serial };
      };
      const claim = { ...peer, tokenSha256: sha256Hex(token), publicKeySha256: 'a'.repeat(64), address: '192.0.2.1' };
      await records.useJoinToken(claim);
      const papers = [await issue(600), await issue(900), await issue(1200)];
      const open = (which: (typeof papers)[number]): Promise<number | 'open'> =>
        new Promise((resolve) => {
          const socket = new WebSocket(`wss://127.0.0.1:${hub.port}/link`, { ca: certificates.caPem, cert: which.cert, key: which.key });
          socket.on('error', () => resolve(0));
          socket.on('unexpected-response', (_request, response) => {
            resolve(response.statusCode ?? 0);
            socket.terminate();
          });
          socket.on('open', () => {
            resolve('open');
            socket.terminate();
          });
        });
      for (const each of papers) assert.equal(await open(each), 'open', 'a renewal does not take the one before out of use');
      assert.equal((await db.read.findOneByOrFail(agents, { id: peer.id })).certificateSerial, papers[2]?.serial);

      await db.transact((tx) => removeAgent(tx, peer.id));
      await assert.rejects(records.useJoinToken(claim), { code: 'Unauthenticated' });
      await assert.rejects(issue(600), { code: 'Forbidden' });
      const link = { version: '1', address: '192.0.2.1', serverId: randomUUID(), serial: 'x', notAfter: Date.now() + 60_000 };
      await assert.rejects(records.connected(peer, link), { code: 'Forbidden' }, 'at once, whatever is still remembered');
      // The server remembers what is revoked and looks again every few seconds.
      const until = Date.now() + 15_000;
      for (const each of papers) {
        while ((await open(each)) !== 403) {
          assert.ok(Date.now() < until, 'a certificate of a removed agent still counts');
          await wait(200);
        }
      }
      assert.ok(refusals.filter(({ reason }) => reason === 'revoked').length >= papers.length);
    } finally {
      await hub.close();
      records.close();
      await db.close();
    }
  });
});

test('SV-20 agents that come back together are written together, and what is refused to one is not refused to the others', async () => {
  await withScratchDatabase(async ({ database }) => {
    const db = await openDatabase({ ...database, poolSize: 4 }, asTables(...coreTables), [], silentLog);
    await db.source.synchronize();
    let transactions = 0;
    const counting: Database = {
      ...db,
      transact: (work) => {
        transactions += 1;
        return db.transact(work);
      },
    };
    const told: string[] = [];
    const records = await openAgentRecords(counting, ({ id }) => void told.push(id));
    try {
      const serverId = randomUUID();
      const peers = Array.from({ length: 60 }, () => newPeer());
      const [gone, other] = [newPeer(), newPeer()];
      await db.transact(async (tx) => {
        for (const peer of [...peers, gone, other]) await newAgent(tx, { ...peer, zoneId: null, address: '192.0.2.7' });
        await removeAgent(tx, gone.id);
      });
      const connect = (peer: Peer) =>
        records.connected(peer, {
          version: `1-${peer.id}`,
          address: '192.0.2.1',
          serverId,
          serial: `s-${peer.id}`,
          notAfter: 1_900_000_000_000,
        });
      const outcomes = await Promise.allSettled([
        connect(gone),
        ...peers.map(connect),
        connect(newPeer()),
        connect({ ...other, kind: 'router' }),
      ]);
      const codes = outcomes.map((outcome) => (outcome.status === 'rejected' ? outcome.reason.code : 'written'));
      assert.deepEqual(codes, ['Forbidden', ...peers.map(() => 'written'), 'NotFound', 'NotFound']);
      assert.equal(transactions, 1, 'all of them in one transaction');
      assert.deepEqual(told.sort(), peers.map(({ id }) => id).sort());
      // One that is ready and one that is lost in the same moment: each change counts, in the order in which it was asked for.
      const [first] = peers;
      assert.ok(first);
      await Promise.all([...peers.map((peer) => records.ready(peer)), records.lost(first, 'gone again')]);
      assert.ok(transactions <= 3);
      for (const { id } of peers) {
        const row = await db.read.findOneByOrFail(agents, { id });
        const expected: object =
          id === first.id ? { state: 'Alert', generation: 3, serverId: null } : { state: 'Up', generation: 2, serverId };
        assert.deepEqual({ state: row.state, generation: row.generation, serverId: row.serverId }, expected);
        assert.deepEqual([row.version, row.certificateSerial, row.address], [`1-${id}`, `s-${id}`, '192.0.2.7']);
        assert.equal(row.certificateExpiresAt?.getTime(), 1_900_000_000_000);
      }
      assert.deepEqual((await records.believedConnected(serverId)).length, peers.length - 1);
      const untouched = await db.read.findOneByOrFail(agents, { id: other.id });
      assert.deepEqual([untouched.state, untouched.generation], ['Creating', 0]);
    } finally {
      records.close();
      await db.close();
    }
  });
});
