/**
 * Routers have no leg on the management network; they dial the host's control address, and this relay carries the stream to a management
 * server. TLS runs from end to end through it, so nothing here can be read or changed.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { splitAddress } from '../protocol/link/address.ts';
import type { Log } from '../protocol/log.ts';

export interface RelayOptions {
  readonly address: string;
  readonly port: number;
  /** Asked for each connection; host:port, tried in order. */
  readonly targets: () => readonly string[];
  readonly log: Log;
  readonly limits?: Partial<RelayLimits>;
}
export interface RelayLimits {
  readonly connectionsMax: number;
  readonly perClientMax: number;
  /** A client that says nothing for so long after connecting is not a router. */
  readonly firstByteSeconds: number;
  readonly connectSeconds: number;
  /** Links beat every few seconds; a stream this quiet has lost its far end. */
  readonly idleSeconds: number;
}
const LIMITS: RelayLimits = { connectionsMax: 1024, perClientMax: 8, firstByteSeconds: 10, connectSeconds: 5, idleSeconds: 120 };

export interface Relay {
  readonly port: number;
  connections(): number;
  close(): Promise<void>;
}

export async function openRelay({ address, port, targets, log, limits }: RelayOptions): Promise<Relay> {
  const { connectionsMax, perClientMax, firstByteSeconds, connectSeconds, idleSeconds } = { ...LIMITS, ...limits };
  const open = new Map<Socket, string>();

  const server: Server = createServer({ noDelay: true }, (client) => {
    const from = client.remoteAddress ?? '';
    client.on('error', () => client.destroy());
    const sameClient = [...open.values()].filter((other) => other === from).length;
    if (open.size >= connectionsMax || sameClient >= perClientMax) {
      client.destroy();
      return;
    }
    open.set(client, from);
    client.once('close', () => open.delete(client));
    client.setTimeout(firstByteSeconds * 1000, () => client.destroy());
    // Nothing is dialled for a client that has not spoken, so half-open connections cost one socket here and none there.
    client.once('readable', () => {
      if (client.destroyed) return;
      if (client.readableLength === 0) {
        client.destroy();
        return;
      }
      void reach(targets(), connectSeconds).then((upstream) => {
        if (!upstream) {
          log.warn({ from }, 'the relay reaches no management server');
          client.destroy();
          return;
        }
        if (client.destroyed) {
          upstream.destroy();
          return;
        }
        join(client, upstream, idleSeconds);
      });
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: address, port, backlog: 128 }, resolve);
  });
  server.on('error', (err) => log.error({ err }, 'the relay failed'));
  const bound = server.address();
  return {
    port: typeof bound === 'object' && bound !== null ? bound.port : port,
    connections: () => open.size,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const client of open.keys()) client.destroy();
      }),
  };
}

function join(client: Socket, upstream: Socket, idleSeconds: number): void {
  for (const [one, other] of [
    [client, upstream],
    [upstream, client],
  ] as const) {
    one.setTimeout(idleSeconds * 1000, () => one.destroy());
    one.on('error', () => one.destroy());
    one.once('close', () => other.destroy());
    one.pipe(other);
  }
}

async function reach(targets: readonly string[], connectSeconds: number): Promise<Socket | null> {
  for (const target of targets) {
    // A target that is no address is as good as one that does not answer.
    const socket = await dial(target, connectSeconds).catch(() => null);
    if (socket) return socket;
  }
  return null;
}

const dial = (target: string, connectSeconds: number): Promise<Socket | null> =>
  new Promise((resolve) => {
    const socket = connect({ ...splitAddress(target), noDelay: true });
    const give = (result: Socket | null): void => {
      socket.removeAllListeners();
      if (!result) {
        socket.on('error', () => {});
        socket.destroy();
      }
      resolve(result);
    };
    socket.setTimeout(connectSeconds * 1000, () => give(null));
    socket.once('error', () => give(null));
    socket.once('connect', () => give(socket));
  });
