/**
 * The two ends of a console: towards the host a VNC client that knows the password, towards the browser a VNC server that asks for
 * none. Both speak RFB 3.8; after the handshakes the proxy only moves bytes.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { RawData, WebSocket } from 'ws';
import { CloudError } from '../protocol/errors.ts';
import type { ConsoleTarget } from '../protocol/messages/console.ts';
import type { Infer } from '../protocol/schema.ts';
import { answerChallenge } from './vnc-password.ts';

const VERSION = 'RFB 003.008\n';
const HANDSHAKE_SECONDS = 10;
const NONE = 1;
const VNC_AUTHENTICATION = 2;
/** What a browser may send before its handshake is through. */
const EARLY_BYTES_MAX = 64 * 1024;
/** Screen data that may wait for a slow browser before the host is no longer read. */
const WAITING_BYTES_HIGH = 1024 * 1024;
const WAITING_BYTES_LOW = 256 * 1024;

type Take = (length: number) => Promise<Buffer>;

/** Hands out a socket's bytes in the lengths asked for. `leave` stops reading and puts back what was not asked for. */
function reader(socket: Socket, signal: AbortSignal): { take: Take; leave: () => void } {
  let buffered: Buffer = Buffer.alloc(0);
  let changed: () => void = () => undefined;
  let ended = false;
  const onData = (chunk: Buffer): void => {
    buffered = Buffer.concat([buffered, chunk]);
    changed();
  };
  const onEnd = (): void => {
    ended = true;
    changed();
  };
  const onAbort = (): void => changed();
  socket.on('data', onData).on('end', onEnd).on('close', onEnd);
  signal.addEventListener('abort', onAbort, { once: true });
  return {
    take: async (length) => {
      while (buffered.length < length) {
        if (signal.aborted) throw new CloudError('Unreachable', "the host's console did not answer in time");
        if (ended) throw new CloudError('Unreachable', "the host's console hung up");
        await new Promise<void>((resolve) => {
          changed = resolve;
        });
      }
      const taken = buffered.subarray(0, length);
      buffered = buffered.subarray(length);
      return taken;
    },
    leave: () => {
      socket.pause();
      socket.off('data', onData).off('end', onEnd).off('close', onEnd);
      signal.removeEventListener('abort', onAbort);
      if (buffered.length > 0) socket.unshift(buffered);
    },
  };
}

async function readReason(take: Take): Promise<string> {
  const length = (await take(4)).readUInt32BE(0);
  if (length === 0 || length > 1024) return 'no reason given';
  return (await take(length)).toString('utf8').replace(/[^\x20-\x7e]/g, '?');
}

async function authenticate(socket: Socket, take: Take, password: string): Promise<void> {
  const version = (await take(12)).toString('latin1');
  if (!/^RFB 003\.(008|889)\n$/.test(version))
    throw new CloudError('Unreachable', "the host's console does not speak RFB 3.8", { version });
  socket.write(VERSION);
  const typeCount = (await take(1)).readUInt8(0);
  if (typeCount === 0) throw new CloudError('Unreachable', `the host's console refused: ${await readReason(take)}`);
  const types = [...(await take(typeCount))];
  // A console that asks for no password is not the one that was made for this machine, or its protection was lost.
  if (!types.includes(VNC_AUTHENTICATION))
    throw new CloudError('Unreachable', "the host's console does not ask for its password; the machine must be started again", { types });
  socket.write(Buffer.of(VNC_AUTHENTICATION));
  socket.write(answerChallenge(password, await take(16)));
  const result = (await take(4)).readUInt32BE(0);
  if (result !== 0) throw new CloudError('Unreachable', `the host's console did not accept its password: ${await readReason(take)}`);
}

/** Connects to the host's VNC and authenticates. The socket comes back paused, right before ClientInit. */
export async function connectVnc(target: Infer<typeof ConsoleTarget>, aborted: AbortSignal): Promise<Socket> {
  const signal = AbortSignal.any([aborted, AbortSignal.timeout(HANDSHAKE_SECONDS * 1000)]);
  const socket = connect({ host: target.host, port: target.port, noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 });
  const cut = (): void => void socket.destroy();
  signal.addEventListener('abort', cut, { once: true });
  socket.on('error', () => undefined);
  try {
    await once(socket, 'connect', { signal });
    const { take, leave } = reader(socket, signal);
    await authenticate(socket, take, target.password);
    leave();
    return socket;
  } catch (error) {
    socket.destroy();
    if (error instanceof CloudError) throw error;
    throw new CloudError('Unreachable', "the host's console cannot be reached", { cause: error });
  } finally {
    signal.removeEventListener('abort', cut);
  }
}

const bytesOf = (message: RawData): Buffer =>
  Buffer.isBuffer(message) ? message : Array.isArray(message) ? Buffer.concat(message) : Buffer.from(message);

/** Plays a VNC server without a password to the browser, up to ClientInit. What follows is kept until `listen` is called. */
export function greetBrowser(browser: WebSocket, aborted: AbortSignal): Promise<{ listen: (onMessage: (chunk: Buffer) => void) => void }> {
  return new Promise((resolve, reject) => {
    let received: Buffer = Buffer.alloc(0);
    let step: 'version' | 'security' | 'init' | 'done' = 'version';
    // One listener for the whole life: messages that arrive together are delivered together, so a gap between two listeners loses some.
    let listener: ((chunk: Buffer) => void) | null = null;
    const settle = (outcome: () => void): void => {
      step = 'done';
      clearTimeout(timer);
      browser.off('close', left);
      aborted.removeEventListener('abort', left);
      outcome();
    };
    const fail = (message: string): void => settle(() => reject(new CloudError('BadRequest', message)));
    const left = (): void => fail('the browser left');
    const timer = setTimeout(() => fail('the browser did not finish the handshake'), HANDSHAKE_SECONDS * 1000);
    const listen = (onMessage: (chunk: Buffer) => void): void => {
      listener = onMessage;
      if (received.length > 0) onMessage(received);
      received = Buffer.alloc(0);
    };
    browser.on('message', (message) => {
      const chunk = bytesOf(message);
      if (listener !== null) {
        listener(chunk);
        return;
      }
      received = Buffer.concat([received, chunk]);
      if (received.length > EARLY_BYTES_MAX) {
        received = Buffer.alloc(0);
        browser.terminate();
        return;
      }
      if (step === 'version' && received.length >= 12) {
        if (received.toString('latin1', 0, 12) !== VERSION) {
          fail('the browser does not speak RFB 3.8');
          return;
        }
        received = received.subarray(12);
        step = 'security';
        browser.send(Buffer.of(1, NONE));
      }
      if (step === 'security' && received.length >= 1) {
        if (received[0] !== NONE) {
          fail('the browser chose a security type that was not offered');
          return;
        }
        received = received.subarray(1);
        step = 'init';
        browser.send(Buffer.alloc(4));
      }
      if (step === 'init' && received.length >= 1) {
        // The wish for an exclusive screen is dropped: it would throw out whoever else looks at this machine.
        received = received.subarray(1);
        settle(() => resolve({ listen }));
      }
    });
    browser.on('close', left);
    aborted.addEventListener('abort', left, { once: true });
    browser.send(Buffer.from(VERSION, 'latin1'));
  });
}

/** Always shared: more than one user of a machine may look at its screen. */
export const SHARED_CLIENT_INIT = Buffer.of(1);

/** Moves bytes both ways until one side is gone. Neither side is read faster than the other takes it. */
export function pump(
  browser: WebSocket,
  listen: (onMessage: (chunk: Buffer) => void) => void,
  host: Socket,
  onInput: (chunk: Buffer) => void,
): void {
  let hostWaits = false;
  const sent = (): void => {
    if (!hostWaits || browser.bufferedAmount > WAITING_BYTES_LOW) return;
    hostWaits = false;
    host.resume();
  };
  const frame = { binary: true, compress: false };
  host.on('data', (chunk: Buffer) => {
    if (browser.readyState !== browser.OPEN) return;
    browser.send(chunk, frame, sent);
    if (hostWaits || browser.bufferedAmount < WAITING_BYTES_HIGH) return;
    hostWaits = true;
    host.pause();
  });
  host.on('drain', () => browser.resume());
  listen((chunk) => {
    onInput(chunk);
    if (host.writable && !host.write(chunk)) browser.pause();
  });
  host.resume();
}
