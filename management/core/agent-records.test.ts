import assert from 'node:assert/strict';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { withScratchDatabase } from '../../lab/services.ts';
import { newAgent, newJoinToken, openAgentRecords, removeAgent } from './agent-records.ts';
import { memoryAuthority, newPeer, silentLog } from './agents.testing.ts';
import { openAgentHub, type Refusal } from './agents.ts';
import { asTables } from './area.ts';
import { openDatabase } from './db.ts';
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
