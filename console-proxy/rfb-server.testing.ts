/** A small VNC server for tests: it asks for a password, then hands the connection over. */
import { createServer, type Server, type Socket } from 'node:net';
import { answerChallenge } from './vnc-password.ts';

const CHALLENGE = Buffer.from('00112233445566778899aabbccddeeff', 'hex');

export interface RfbTestServer {
  readonly port: number;
  readonly sockets: Set<Socket>;
  /** What clients sent after the handshake, beginning with ClientInit. */
  readonly received: () => Buffer;
  readonly close: () => Promise<void>;
}
export interface RfbTestServerOptions {
  readonly password?: string;
  readonly version?: string;
  readonly types?: readonly number[];
  /** After ClientInit. */
  readonly serve?: (socket: Socket) => void;
}

export function startRfbServer({
  password = 'passw0rd',
  version = 'RFB 003.008\n',
  types = [2],
  serve = () => undefined,
}: RfbTestServerOptions = {}): Promise<RfbTestServer> {
  const sockets = new Set<Socket>();
  let received = Buffer.alloc(0);
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket)).on('error', () => undefined);
    let buffer = Buffer.alloc(0);
    let step: 'version' | 'type' | 'answer' | 'init' | 'open' = 'version';
    socket.write(version);
    socket.on('data', (chunk) => {
      if (step === 'open') {
        received = Buffer.concat([received, chunk]);
        return;
      }
      buffer = Buffer.concat([buffer, chunk]);
      const take = (length: number): Buffer | null => {
        if (buffer.length < length) return null;
        const taken = buffer.subarray(0, length);
        buffer = buffer.subarray(length);
        return taken;
      };
      if (step === 'version' && take(12)) {
        socket.write(Buffer.of(types.length, ...types));
        if (types.length === 0) {
          const reason = Buffer.from('too many\nclients');
          const length = Buffer.alloc(4);
          length.writeUInt32BE(reason.length);
          socket.end(Buffer.concat([length, reason]));
        }
        step = 'type';
      }
      if (step === 'type' && take(1)) {
        socket.write(CHALLENGE);
        step = 'answer';
      }
      if (step === 'answer') {
        const answer = take(16);
        if (answer === null) return;
        const good = answer.equals(answerChallenge(password, CHALLENGE));
        if (!good) {
          socket.end(Buffer.concat([Buffer.from([0, 0, 0, 1, 0, 0, 0, 21]), Buffer.from('authentication failed')]));
          return;
        }
        // The four bytes come in two pieces, as a network may deliver them.
        socket.write(Buffer.alloc(2));
        setTimeout(() => socket.write(Buffer.alloc(2)), 5);
        step = 'init';
      }
      if (step === 'init') {
        const init = take(1);
        if (init === null) return;
        received = Buffer.concat([received, init, buffer]);
        step = 'open';
        serve(socket);
      }
    });
  });
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      resolve({
        port: typeof address === 'object' && address !== null ? address.port : 0,
        sockets,
        received: () => received,
        close: () => {
          for (const socket of sockets) socket.destroy();
          return new Promise((closed) => server.close(() => closed()));
        },
      });
    });
  });
}
