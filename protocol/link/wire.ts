/** One connection of an agent to a management server: WebSocket over mutual TLS, frames in and out. */

import { TLSSocket } from 'node:tls';
import { type RawData, WebSocket } from 'ws';
import { CloudError } from '../errors.ts';
import { splitAddress } from './address.ts';
import { decode, encode, FRAME_BYTES_MAX, type Frame, type FrameOf, SERVER_KINDS, UNSENT_BYTES_MAX } from './frame.ts';
import { clientTls, type LinkIdentity } from './identity.ts';

type ServerFrame = FrameOf<(typeof SERVER_KINDS)[number]>;

export interface Wire {
  readonly server: string;
  readonly socket: TLSSocket | null;
  /** When the last bytes came, on the clock of `performance.now`. */
  readonly heardAt: number;
  send(frame: Frame): void;
  sendText(text: string): void;
  /** The next frame; for the greeting, before `onFrame` is set. */
  next(timeoutMs: number): Promise<ServerFrame>;
  /** From now on each frame goes to `take`; frames that came since the greeting are handed over first. */
  onFrame(take: (frame: ServerFrame) => void, ended: (reason: string) => void): void;
  close(): void;
  destroy(reason: string): void;
  /** Tells the server that this is a stop and no loss, and waits shortly until it has heard. */
  goodbye(reason: string): Promise<void>;
}

const GOODBYE_MS = 1000;

/** Text of a WebSocket message, whichever way it was received. */
export const textOf = (data: RawData): string =>
  Array.isArray(data)
    ? Buffer.concat(data).toString('utf8')
    : data instanceof ArrayBuffer
      ? Buffer.from(data).toString('utf8')
      : data.toString('utf8');

export function openWire(server: string, identity: LinkIdentity, signal: AbortSignal): Promise<Wire> {
  const { host, port } = splitAddress(server);
  const url = `wss://${host.includes(':') ? `[${host}]` : host}:${port}/link`;
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, {
      ...clientTls(identity, { kind: 'management' }),
      perMessageDeflate: false,
      maxPayload: FRAME_BYTES_MAX,
      followRedirects: false,
    });
    let tlsSocket: TLSSocket | null = null;
    let heardAt = performance.now();
    const onAbort = (): void => {
      reject(new CloudError('Timeout', `${server} did not answer in time`));
      socket.terminate();
    };
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    socket.on('error', (cause) => reject(new CloudError('Unreachable', `no connection to ${server}: ${cause.message}`, { cause })));
    socket.once('close', () => signal.removeEventListener('abort', onAbort));
    socket.on('unexpected-response', (_request, response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.length < 16 && chunks.push(chunk));
      response.on('close', () => {
        const reason = Buffer.concat(chunks).toString('utf8').slice(0, 500);
        const code = response.statusCode === 403 ? 'Forbidden' : 'Unreachable';
        reject(new CloudError(code, `${server} refused the link (${response.statusCode}): ${reason}`));
        socket.terminate();
      });
    });
    socket.once('upgrade', (response) => {
      if (!(response.socket instanceof TLSSocket)) return;
      tlsSocket = response.socket;
      // A large frame takes a while on a slow network, and what else the server says waits behind it: any byte is a sign of life.
      tlsSocket.on('data', () => {
        heardAt = performance.now();
      });
    });
    // Frames may follow the upgrade in the same packet, so the wire listens from the start.
    const wire = wireOf(server, socket, { tlsSocket: () => tlsSocket, heardAt: () => heardAt });
    socket.once('open', () => {
      signal.removeEventListener('abort', onAbort);
      resolve(wire);
    });
  });
}

interface Below {
  readonly tlsSocket: () => TLSSocket | null;
  readonly heardAt: () => number;
}

function wireOf(server: string, socket: WebSocket, below: Below): Wire {
  const waiting: ServerFrame[] = [];
  let take = (frame: ServerFrame): void => {
    waiting.push(frame);
    if (waiting.length > 1000) destroy('frames came before the greeting');
  };
  let reason = 'the connection was closed';
  let closed = false;
  const onClosed: ((reason: string) => void)[] = [];

  const destroy = (why: string): void => {
    reason = why;
    socket.terminate();
  };
  const sendText = (text: string): void => {
    if (socket.readyState !== WebSocket.OPEN) return;
    if (socket.bufferedAmount > UNSENT_BYTES_MAX) destroy('the server does not read what it is sent');
    else socket.send(text);
  };

  socket.on('message', (data) => {
    try {
      const frame = decode(textOf(data), SERVER_KINDS);
      if (frame !== null) take(frame);
    } catch (error) {
      destroy(error instanceof CloudError ? error.message : 'a frame could not be handled');
    }
  });
  socket.on('error', (error) => {
    reason = error.message;
  });
  socket.on('close', (code, text) => {
    closed = true;
    if (text.length > 0) reason = `${text.toString('utf8')} (${code})`;
    for (const listener of onClosed) listener(reason);
  });

  return {
    server,
    get socket() {
      return below.tlsSocket();
    },
    get heardAt() {
      return below.heardAt();
    },
    send: (frame) => sendText(encode(frame)),
    sendText,
    next: (timeoutMs) =>
      new Promise((resolve, reject) => {
        const first = waiting.shift();
        if (first !== undefined) return resolve(first);
        const queue = take;
        const timer = setTimeout(() => reject(new CloudError('Timeout', `${server} said nothing`)), timeoutMs);
        onClosed.push((why) => {
          clearTimeout(timer);
          reject(new CloudError('Unreachable', why));
        });
        if (closed) return reject(new CloudError('Unreachable', reason));
        take = (frame) => {
          clearTimeout(timer);
          take = queue;
          resolve(frame);
        };
      }),
    onFrame(taker, ended) {
      if (closed) return ended(reason);
      onClosed.push(ended);
      take = taker;
      for (const frame of waiting.splice(0)) taker(frame);
    },
    close: () => socket.close(1000),
    destroy,
    goodbye: (why) =>
      new Promise((resolve) => {
        if (closed) return resolve();
        const timer = setTimeout(() => {
          destroy('closed');
          resolve();
        }, GOODBYE_MS);
        onClosed.push(() => {
          clearTimeout(timer);
          resolve();
        });
        sendText(encode({ kind: 'bye', body: { reason: why } }));
        socket.close(1000);
      }),
  };
}
