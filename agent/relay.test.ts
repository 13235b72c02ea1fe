import assert from 'node:assert/strict';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { after, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { createLog } from '../protocol/log.ts';
import { openRelay, type Relay, type RelayLimits } from './relay.ts';

const log = createLog('test', { level: 'silent' });
const ends: (() => void)[] = [];
after(() => {
  for (const end of ends) end();
});

async function upstream(): Promise<{ target: string; connections: () => number }> {
  let connections = 0;
  const server: Server = createServer((socket) => {
    connections += 1;
    socket.on('error', () => {});
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  ends.push(() => server.close());
  return { target: `127.0.0.1:${(server.address() as AddressInfo).port}`, connections: () => connections };
}
async function relayTo(targets: readonly string[], limits: Partial<RelayLimits> = {}): Promise<Relay> {
  const relay = await openRelay({ address: '127.0.0.1', port: 0, targets: () => targets, log, limits });
  ends.push(() => void relay.close());
  return relay;
}
const dial = (port: number): Socket => {
  const socket = connect({ host: '127.0.0.1', port });
  socket.on('error', () => {});
  ends.push(() => socket.destroy());
  return socket;
};
const closed = (socket: Socket): Promise<void> => new Promise((resolve) => socket.once('close', () => resolve()));
const echo = (socket: Socket, bytes: Buffer): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let size = 0;
    socket.on('data', (part: Buffer) => {
      parts.push(part);
      size += part.length;
      if (size >= bytes.length) resolve(Buffer.concat(parts));
    });
    socket.once('close', () => reject(new Error('closed')));
    socket.write(bytes);
  });

test('VR-11 a stream goes through whole, to the first server that answers', async () => {
  const far = await upstream();
  const relay = await relayTo(['127.0.0.1:1', far.target]);
  const bytes = Buffer.alloc(2_000_000, 'nephos');
  const socket = dial(relay.port);
  assert.deepEqual(await echo(socket, bytes), bytes);
  assert.equal(relay.connections(), 1);
  socket.destroy();
  await wait(50);
  assert.equal(relay.connections(), 0);
});

test('a client that does not speak costs nothing upstream and is let go', async () => {
  const far = await upstream();
  const relay = await relayTo([far.target], { firstByteSeconds: 0.1, perClientMax: 100 });
  await Promise.all(Array.from({ length: 50 }, () => closed(dial(relay.port))));
  const hangsUp = dial(relay.port);
  hangsUp.end();
  await closed(hangsUp);
  await wait(50);
  assert.equal(far.connections(), 0);
  assert.equal(relay.connections(), 0);
});

test('connections are bounded, over all and for one client', async () => {
  const far = await upstream();
  for (const limits of [{ perClientMax: 2 }, { connectionsMax: 2, perClientMax: 100 }]) {
    const relay = await relayTo([far.target], limits);
    const sockets = [dial(relay.port), dial(relay.port)];
    for (const socket of sockets) assert.equal((await echo(socket, Buffer.from('x'))).toString(), 'x');
    await closed(dial(relay.port));
    assert.equal(relay.connections(), 2);
    await relay.close();
  }
});

test('with no server in reach, or a target that is none, the client is let go and the relay lives', async () => {
  const far = await upstream();
  const targets = ['127.0.0.1:1'];
  const relay = await openRelay({ address: '127.0.0.1', port: 0, targets: () => targets, log });
  ends.push(() => void relay.close());
  for (const target of ['127.0.0.1:1', 'nowhere']) {
    targets[0] = target;
    const socket = dial(relay.port);
    socket.write('x');
    await closed(socket);
  }
  targets[0] = far.target;
  assert.equal((await echo(dial(relay.port), Buffer.from('y'))).toString(), 'y');
});
