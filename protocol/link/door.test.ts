import assert from 'node:assert/strict';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { after, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { type DoorLimits, openDoor, usualDoorLimits } from './door.ts';

const HELLO = Buffer.concat([Buffer.from([0x16, 3, 1, 0, 100]), Buffer.alloc(100, 7)]);
const cleanups: (() => void)[] = [];
after(() => {
  for (const cleanup of cleanups) cleanup();
});

async function doorOf(limits: Partial<DoorLimits>) {
  const begun: Socket[] = [];
  const refused: string[] = [];
  const door = openDoor({
    limits: { ...usualDoorLimits, ...limits },
    begin: (socket) => void begun.push(socket),
    onRefused: (reason) => void refused.push(reason),
  });
  const server = createServer((socket) => door.enter(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const sockets: Socket[] = [];
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    door.close();
    server.close();
  });
  const dial = (first: Buffer | null, localAddress = '127.0.0.1') =>
    new Promise<Socket & { gone?: boolean }>((resolve) => {
      const socket: Socket & { gone?: boolean } = connect({ port, host: '127.0.0.1', localAddress }, () => {
        if (first !== null) socket.write(first);
        resolve(socket);
      });
      socket.on('error', () => {});
      socket.on('close', () => {
        socket.gone = true;
      });
      sockets.push(socket);
    });
  return { door, begun, refused, dial };
}

const until = async (what: string, holds: () => boolean): Promise<void> => {
  for (const end = Date.now() + 15_000; !holds(); await wait(10)) assert.ok(Date.now() < end, `${what} did not come`);
};

test('SV-19 TLS begins only when a whole ClientHello has come, and what came is still there to read', async () => {
  const { begun, dial } = await doorOf({});
  const socket = await dial(HELLO.subarray(0, 3));
  await wait(20);
  socket.write(HELLO.subarray(3, 60));
  await wait(20);
  assert.equal(begun.length, 0);
  socket.write(HELLO.subarray(60));
  await wait(20);
  assert.equal(begun.length, 1);
  assert.deepEqual(begun[0]?.read(), HELLO);
});

test('whoever does not speak TLS, or not in time, is cut', async () => {
  const { door, refused, dial } = await doorOf({ handshakeMs: 100 });
  await dial(Buffer.from('GET / HTTP/1.1\r\n\r\n'));
  await dial(null);
  await dial(HELLO);
  await wait(40);
  assert.deepEqual(refused, ['not-tls']);
  await wait(700);
  assert.deepEqual(refused.sort(), ['handshake', 'not-tls', 'silent']);
  assert.equal(door.waitingCount, 0);
});

test('of too many silent connections the oldest of the same address makes room', async () => {
  const { begun, refused, dial } = await doorOf({ silentMax: 8, silentPerAddressMax: 4 });
  const first = await dial(null);
  for (let index = 0; index < 4; index++) await dial(null);
  await wait(20);
  assert.equal(first.gone, true);
  assert.equal(refused.length, 1);
  for (let index = 0; index < 4; index++) await dial(null, '127.0.0.2');
  const other = await dial(null, '127.0.0.3');
  await wait(20);
  assert.equal(other.gone, undefined, 'a newcomer is never the one to go');
  other.write(HELLO);
  await wait(20);
  assert.equal(begun.length, 1);
});

test('handshakes are bounded; a lone address does not wait behind a crowd, and stalled ones make room', async () => {
  const { begun, door, dial } = await doorOf({ handshakesMax: 4, crowdedMs: 3000 });
  for (let index = 0; index < 40; index++) await dial(HELLO);
  await until('the first handshakes', () => begun.length >= 4);
  await wait(20);
  assert.equal(begun.length, 4);
  await dial(HELLO, '127.0.0.2');
  await wait(50);
  for (const place of [0, 1]) {
    const passed = begun[place];
    door.passed(passed?.remoteAddress, passed?.remotePort);
    await until('the next handshake', () => begun.length > 4 + place);
  }
  assert.ok(
    begun.slice(4, 6).some((socket) => socket.remoteAddress?.endsWith('127.0.0.2')),
    'the second address has its turn at once',
  );
  await until('stalled handshakes are given up for those that wait', () => begun.length > 6);
});
