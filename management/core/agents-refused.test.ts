/** Who must not get in on port 8250, and what must not keep others from getting in. */
import assert from 'node:assert/strict';
import { createPrivateKey, generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type RequestOptions, request } from 'node:https';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { connect as connectTls, TLSSocket } from 'node:tls';
import { WebSocket } from 'ws';
import type { PeerKind } from '../../protocol/kinds.ts';
import { openAgentLink } from '../../protocol/link/agent-link.ts';
import { clientTls, type LinkIdentity, memoryIdentityStore, peerOf, serverTls } from '../../protocol/link/identity.ts';
import { join } from '../../protocol/link/join.ts';
import { proveKey } from '../../protocol/link/key-proof.ts';
import { type Cloud, memoryAuthority, newPeer, openCloud, silentLog } from './agents.testing.ts';
import type { Peer } from './agents.ts';
import type { Certificates } from './certificates.ts';

const cleanups: (() => Promise<unknown> | unknown)[] = [];
after(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});
async function cloudOf(options: Parameters<typeof openCloud>[0] = {}): Promise<Cloud> {
  const cloud = await openCloud(options);
  cleanups.push(() => cloud.hub.close());
  return cloud;
}
const until = async (what: string, holds: () => boolean, limitMs = 8000): Promise<void> => {
  const end = performance.now() + limitMs;
  while (!holds()) {
    assert.ok(performance.now() < end, `never happened: ${what}`);
    await wait(5);
  }
};

interface KeyPair {
  readonly keyPem: string;
  readonly publicKey: KeyObject;
}
const newKey = (namedCurve = 'P-256'): KeyPair => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve });
  return { keyPem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(), publicKey };
};
interface Papers {
  readonly key: string;
  readonly cert: string;
}
const papersOf = (certificates: Certificates, peer: Peer, validitySeconds = 3600): Papers & { serial: string } => {
  const { keyPem, publicKey } = newKey();
  const { certificatePem, serial } = certificates.issue({ ...peer, publicKey, validitySeconds });
  return { key: keyPem, cert: certificatePem, serial };
};

/** How a try to open the link ends: the status of a refusal, or `open`. */
function tryLink(
  cloud: Cloud,
  papers: Papers | null,
  path = '/link',
): Promise<{ status: number | 'open'; text: string; socket: WebSocket }> {
  return new Promise((resolve) => {
    const socket = new WebSocket(`wss://${cloud.server}${path}`, { ca: cloud.certificates.caPem, ...papers, perMessageDeflate: false });
    cleanups.push(() => socket.terminate());
    socket.on('open', () => resolve({ status: 'open', text: '', socket }));
    socket.on('unexpected-response', (_request, response) => {
      response.setEncoding('utf8').on('data', (text: string) => resolve({ status: response.statusCode ?? 0, text, socket }));
    });
    socket.on('error', (error) => resolve({ status: 0, text: error.message, socket }));
  });
}
function fetchFrom(
  cloud: Pick<Cloud, 'server' | 'certificates'>,
  options: RequestOptions,
  body = '',
): Promise<{ status: number; text: string; headers: NodeJS.Dict<string | string[]> }> {
  const [host, port] = cloud.server.split(':');
  return new Promise((resolve, reject) => {
    const sent = request({ host, port, ca: cloud.certificates.caPem, agent: false, ...options }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => {
        text += part;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text, headers: response.headers }));
    });
    sent.on('error', reject);
    sent.end(body);
  });
}
const closeCode = (socket: WebSocket): Promise<number> => new Promise((resolve) => socket.on('close', resolve));

test('SV-19 a join needs a token that was made for this kind and id, is fresh, and was not used by another key', async () => {
  const cloud = await cloudOf();
  const { server, records, certificates } = cloud;
  const peer = newPeer();
  const { keyPem } = newKey();
  const claim = { server, ...peer, keyPem, caSha256: certificates.caSha256, signal: AbortSignal.timeout(5000) };
  const refusedWith = (changed: Partial<Parameters<typeof join>[0]>) =>
    assert.rejects(join({ ...claim, token, ...changed }), {
      name: 'CloudError',
      code: 'Unauthenticated',
      message: 'the join token is not valid',
    });

  const token = records.newToken(peer);
  await refusedWith({ token: 'A'.repeat(43) });
  await refusedWith({ id: randomUUID() });
  await refusedWith({ kind: 'router' });
  await refusedWith({ token: records.newToken(peer, Date.now() - 1) });
  await refusedWith({ token: records.newToken(newPeer()) });
  assert.equal(records.serials.size, 0);
  const identity = await join({ ...claim, token });
  assert.equal(identity.id, peer.id);
  await refusedWith({ keyPem: newKey().keyPem });
  // The answer to the first use may have been lost, so the key that used it may ask again.
  await join({ ...claim, token });
  assert.equal(records.serials.get(peer.id)?.length, 2);
  assert.deepEqual([...new Set(cloud.refusals.map(({ reason }) => reason))], ['bad-token']);
  assert.deepEqual(cloud.refusals[0]?.peer, { ...peer });
  assert.ok(!JSON.stringify(cloud.refusals).includes(token));
});

test('SV-19 a join is worth nothing without the private key, on another connection, or with a weak key', async () => {
  const { server, records, certificates, refusals } = await cloudOf();
  const peer = newPeer();
  const token = records.newToken(peer);
  const [host, port] = server.split(':');
  const post = (change: { key: KeyPair; proofBy?: KeyPair; proofFrom?: string }): Promise<{ status: number; proof: string }> =>
    new Promise((resolve, reject) => {
      const socket = connectTls({ host, port: Number(port), ca: certificates.caPem }, () => {
        const publicKey = change.key.publicKey.export({ format: 'der', type: 'spki' }).toString('base64');
        const signing = createPrivateKey((change.proofBy ?? change.key).keyPem);
        const proof = change.proofFrom ?? proveKey(socket, { purpose: 'join', ...peer, publicKey, token }, signing);
        const body = JSON.stringify({ ...peer, token, publicKey, proof });
        socket.write(`POST /join HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
        socket.once('data', (data) => {
          socket.destroy();
          resolve({ status: Number(data.toString('latin1').split(' ')[1]), proof });
        });
      });
      socket.on('error', reject);
    });
  const key = newKey();
  assert.equal((await post({ key, proofBy: newKey() })).status, 401);
  assert.equal((await post({ key: newKey('P-384') })).status, 431);
  assert.equal(records.serials.size, 0);
  const { status, proof } = await post({ key });
  assert.equal(status, 200);
  assert.equal((await post({ key, proofFrom: proof })).status, 401, 'a proof that was overheard must not work again');
  assert.equal(refusals.length, 3);
});

test('SV-19 without a certificate one may join, and nothing else', async () => {
  const cloud = await cloudOf({ file: async () => '/etc/hostname' });
  assert.equal((await tryLink(cloud, null)).status, 403);
  for (const [method, path] of [
    ['GET', '/files/vmlinuz'],
    ['GET', '/'],
    ['GET', '/join'],
    ['POST', '/link'],
    ['DELETE', '/files/vmlinuz'],
  ] as const) {
    assert.equal((await fetchFrom(cloud, { method, path })).status, 403, `${method} ${path}`);
  }
  assert.ok(cloud.refusals.length === 6 && cloud.refusals.every(({ reason }) => reason === 'no-certificate'));
  assert.equal(cloud.hub.counts.refused['no-certificate'], 6);
  const plain = await new Promise<string>((resolve) => {
    const [host = '', port] = cloud.server.split(':');
    const socket = connect(Number(port), host, () => socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n'));
    socket.on('error', () => {});
    socket.on('close', () => resolve('closed'));
    socket.on('data', () => resolve('answered'));
  });
  assert.equal(plain, 'closed');
});

test('SV-19 TLS 1.2 is not spoken', async () => {
  const cloud = await cloudOf();
  const [host, port] = cloud.server.split(':');
  const outcome = await new Promise<string>((resolve) => {
    const socket = connectTls({ host, port: Number(port), ca: cloud.certificates.caPem, maxVersion: 'TLSv1.2' }, () =>
      resolve('connected'),
    );
    socket.on('error', (error) => resolve(error.message));
  });
  assert.match(outcome, /protocol version/i);
});

test('SV-19 a certificate of another authority, an expired or revoked one, and one of a management server are refused and noted', async () => {
  const cloud = await cloudOf();
  const { certificates, records, refusals } = cloud;
  const peer = newPeer();
  const other = await memoryAuthority();
  const good = papersOf(certificates, peer);
  const revoked = papersOf(certificates, peer);
  records.revoked.add(revoked.serial);
  const expired = papersOf(certificates, peer, 0);
  const server = certificates.issueManagement({ id: randomUUID(), names: [], validitySeconds: 3600 });
  const cases: [string, Papers][] = [
    ['other-authority', papersOf(other, peer)],
    ['expired', expired],
    ['revoked', revoked],
    ['other-kind', { key: server.keyPem, cert: server.certificatePem }],
  ];
  await wait(1100);
  for (const [reason, papers] of cases) {
    refusals.length = 0;
    const { status } = await tryLink(cloud, papers);
    assert.equal(status, 403, reason);
    assert.equal((await fetchFrom(cloud, { path: '/files/vmlinuz', ...papers })).status, 403, reason);
    assert.equal((await fetchFrom(cloud, { path: '/join', method: 'POST', ...papers })).status, 403, reason);
    assert.deepEqual([...new Set(refusals.map((refusal) => refusal.reason))], [reason]);
    if (reason !== 'other-kind') assert.equal(refusals[0]?.peer?.id, peer.id);
  }
  assert.equal((await tryLink(cloud, good)).status, 'open');
  assert.equal((await tryLink(cloud, good, '/other')).status, 403);
});

test('SV-19 with a certificate of one host nothing can be said for another', async () => {
  const cloud = await cloudOf();
  const [mine, other] = [newPeer(), newPeer()];
  cloud.records.newToken(mine);
  cloud.records.newToken(other);
  const papers = papersOf(cloud.certificates, mine);
  const hello = (peer: Peer) => JSON.stringify({ kind: 'hello', body: { ...peer, version: '1', protocol: 1 } });
  for (const first of [
    hello(other),
    hello({ ...mine, kind: 'router' }),
    '{"kind":"beat","body":{}}',
    '{"kind":"bell","name":"machine"}',
    'garbage',
  ]) {
    const { socket } = await tryLink(cloud, papers);
    const closed = closeCode(socket);
    socket.send(first);
    assert.equal(await closed, 4403, first);
  }
  const { socket } = await tryLink(cloud, papers);
  const closed = closeCode(socket);
  socket.send(hello(mine));
  await until('up', () => cloud.hub.isUp(mine.id));
  socket.send(hello(other));
  assert.equal(await closed, 4403);
  assert.deepEqual(
    cloud.refusals.map(({ reason }) => reason),
    ['other-machine', 'other-machine', 'bad-frame', 'bad-frame', 'bad-frame', 'bad-frame'],
  );
  assert.ok(cloud.refusals.every(({ peer }) => peer?.id === mine.id));
  assert.equal(cloud.records.states.get(other.id), 'Creating');
  assert.equal(cloud.hub.isUp(other.id), false);
});

test('SV-19 a frame beyond the bound, a flood of bells and an answer nobody asked for', async () => {
  const cloud = await cloudOf();
  const peer = newPeer();
  cloud.records.newToken(peer);
  const papers = papersOf(cloud.certificates, peer);
  const open = async (): Promise<WebSocket> => {
    const { socket } = await tryLink(cloud, papers);
    socket.on('error', () => {});
    socket.send(JSON.stringify({ kind: 'hello', body: { ...peer, version: '1', protocol: 1 } }));
    await until('up', () => cloud.hub.isUp(peer.id));
    return socket;
  };
  const large = await open();
  const cut = closeCode(large);
  large.send('x'.repeat(16 * 1024 * 1024 + 1));
  await cut;
  await until('noted', () => cloud.refusals.length === 1);
  assert.equal(cloud.refusals[0]?.reason, 'bad-frame');
  const flooding = await open();
  const stopped = closeCode(flooding);
  flooding.send(JSON.stringify({ kind: 'answer', id: randomUUID(), body: {} }));
  for (let index = 0; index < 2000; index++) flooding.send('{"kind":"bell","name":"machine"}');
  assert.equal(await stopped, 4403);
  assert.equal(cloud.refusals.at(-1)?.reason, 'too-many');
});

test('SV-19 joins that fail are counted by address', async () => {
  const cloud = await cloudOf();
  const statuses: number[] = [];
  for (let index = 0; index < 25; index++) statuses.push((await fetchFrom(cloud, { method: 'POST', path: '/join' }, '{"token":1}')).status);
  assert.equal(statuses[0], 431);
  assert.deepEqual(statuses.slice(20), [429, 429, 429, 429, 429]);
  const { status } = await fetchFrom(cloud, { method: 'POST', path: '/join', localAddress: '127.0.0.2' }, 'x'.repeat(20_000));
  assert.equal(status, 400);
});

test('files are for hosts, whole or in part, and only those that are offered', async () => {
  const directory = await mkdtemp(joinPath(tmpdir(), 'nephos-files-'));
  cleanups.push(() => rm(directory, { recursive: true, force: true }));
  await writeFile(joinPath(directory, 'kernel'), 'abcdefghij');
  const asked: string[] = [];
  const cloud = await cloudOf({
    file: async (name) => {
      asked.push(name);
      return name === 'vmlinuz-1' ? joinPath(directory, 'kernel') : name === 'gone' ? joinPath(directory, 'gone') : null;
    },
  });
  const host = papersOf(cloud.certificates, newPeer());
  const get = (path: string, headers: Record<string, string> = {}, papers: Papers = host) => fetchFrom(cloud, { path, headers, ...papers });
  const whole = await get('/files/vmlinuz-1');
  assert.deepEqual([whole.status, whole.text, whole.headers['content-length']], [200, 'abcdefghij', '10']);
  const part = await get('/files/vmlinuz-1', { range: 'bytes=3-5' });
  assert.deepEqual([part.status, part.text, part.headers['content-range']], [206, 'def', 'bytes 3-5/10']);
  assert.deepEqual(
    [(await get('/files/vmlinuz-1', { range: 'bytes=8-' })).text, (await get('/files/vmlinuz-1', { range: 'bytes=-2' })).text],
    ['ij', 'ij'],
  );
  assert.equal((await get('/files/vmlinuz-1', { range: 'bytes=10-' })).status, 416);
  assert.equal((await get('/files/gone')).status, 404);
  assert.equal((await get('/files/other')).status, 404);
  for (const path of ['/files/../etc/passwd', '/files/%2e%2e', '/files/', '/files/.hidden', '/files/a/b', '/etc/passwd']) {
    assert.equal((await get(path)).status, 404, path);
  }
  assert.ok(
    asked.every((name) => /^[a-z0-9-]+$/.test(name)),
    asked.join(),
  );
  const router = papersOf(cloud.certificates, newPeer('router'));
  assert.equal((await get('/files/vmlinuz-1', {}, router)).status, 403);
});

test('SV-19 silent and half-spoken connections do not keep a new agent waiting', async () => {
  const cloud = await cloudOf();
  const upMs = async (): Promise<number> => {
    const peer = newPeer();
    const since = performance.now();
    const link = openAgentLink({
      ...peer,
      servers: [cloud.server],
      join: { token: cloud.records.newToken(peer), caSha256: cloud.certificates.caSha256 },
      store: memoryIdentityStore(),
      version: '1',
      handlers: [],
      beat: async () => ({}),
      log: silentLog,
    });
    cleanups.push(() => link.close());
    await until('up', () => cloud.hub.isUp(peer.id));
    return performance.now() - since;
  };
  // On a busy machine a join takes its time without any of them, too.
  const aloneMs = Math.max(await upMs(), await upMs());
  const [host = '', port = ''] = cloud.server.split(':');
  const sockets: Socket[] = [];
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
  });
  await Promise.all(
    Array.from(
      { length: 400 },
      (_, index) =>
        new Promise<void>((resolve) => {
          const socket = connect(Number(port), host, () => {
            if (index % 2 === 0) socket.write(Buffer.from([0x16, 3, 1, 2, 0, 1]));
            resolve();
          });
          socket.on('error', () => {});
          sockets.push(socket);
        }),
    ),
  );
  await until('all are at the door', () => cloud.hub.counts.waiting === 400);
  const delayMs = (await upMs()) - aloneMs;
  assert.ok(delayMs < 1000, `${delayMs} ms more than without them`);
  assert.equal(cloud.hub.counts.waiting, 400);
});

test('MI-02 an agent that is a version ahead or behind is understood', async () => {
  const cloud = await cloudOf();
  const peer = newPeer();
  cloud.records.newToken(peer);
  const { socket } = await tryLink(cloud, papersOf(cloud.certificates, peer));
  const frames: { kind: string; body: { protocol: number } }[] = [];
  socket.on('message', (data) => frames.push(JSON.parse(String(data))));
  socket.send(JSON.stringify({ kind: 'hello', newer: true, body: { ...peer, version: '9', protocol: 9, more: [1] } }));
  socket.send('{"kind":"gossip","body":"an agent of the next version may say more"}');
  await until('up and welcomed', () => cloud.hub.isUp(peer.id) && frames.length > 0);
  assert.deepEqual([frames[0]?.kind, frames[0]?.body.protocol], ['welcome', 1]);
  assert.equal(cloud.refusals.length, 0);
});

test('the same refusal again is counted, but told once', async () => {
  const cloud = await cloudOf({ timing: { refusalRepeatMs: 60_000 } });
  for (let index = 0; index < 5; index++) await tryLink(cloud, null);
  assert.equal(cloud.refusals.length, 1);
  assert.equal(cloud.hub.counts.refused['no-certificate'], 5);
  await tryLink(cloud, papersOf(await memoryAuthority(), newPeer()));
  assert.equal(cloud.refusals.length, 2);
});

test('among agents, too, a server is known by the kind in its certificate and asks for one of every client', async () => {
  const certificates = await memoryAuthority();
  const identityOf = (kind: PeerKind): LinkIdentity => {
    const peer = newPeer(kind);
    const { key, cert } = papersOf(certificates, peer);
    return { ...peer, keyPem: key, certificatePem: cert, caPem: certificates.caPem, notAfter: Date.now() + 3_600_000 };
  };
  const server = createServer(serverTls(identityOf('secondary-storage')), (incoming, response) => {
    const { socket } = incoming;
    response.end(socket instanceof TLSSocket ? peerOf(socket.getPeerCertificate())?.kind : '');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => server.close());
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  const get = (options: RequestOptions) =>
    fetchFrom({ server: `127.0.0.1:${address.port}`, certificates }, options).then(
      ({ text }) => text,
      (error: Error) => error.message,
    );
  const host = identityOf('host');
  const contextOf = (identity: LinkIdentity) => clientTls(identity, { kind: 'management' }).secureContext;
  assert.equal(contextOf(host), contextOf(host), 'its key is read once');
  assert.notEqual(contextOf(host), contextOf({ ...host }), 'and again when it was renewed');
  assert.equal(await get(clientTls(host, { kind: 'secondary-storage' })), 'host');
  assert.match(await get(clientTls(host, { kind: 'management' })), /not that of a management/);
  assert.match(await get(clientTls(host, { kind: 'secondary-storage', id: randomUUID() })), /not that of/);
  assert.match(await get({ rejectUnauthorized: false }), /alert|socket hang up|ECONNRESET/);
});
