import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { encodeNullCall } from './nfs.ts';
import { portOpen, waitUntil } from './probes.ts';

test('the empty call is one record of forty bytes for NFS version 4', () => {
  const call = encodeNullCall(7);
  assert.equal(call.length, 44);
  assert.equal(call.readUInt32BE(0), 0x80000028);
  assert.equal(call.readUInt32BE(4), 7);
  assert.deepEqual([call.readUInt32BE(12), call.readUInt32BE(16), call.readUInt32BE(20)], [2, 100003, 4]);
});

test('a probe sees an open port, and says what it waited for in vain', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  assert.equal(await portOpen('127.0.0.1', port), true);
  await new Promise((resolve) => server.close(resolve));
  assert.equal(await portOpen('127.0.0.1', port), false);
  await assert.rejects(
    waitUntil({ about: 'nobody', timeoutSeconds: 0.1, logFile: '/nonexistent/log' }, async () => false),
    { code: 'Unavailable', message: /nobody did not answer within 0\.1 s/ },
  );
});
