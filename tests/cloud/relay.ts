/** A cable that can be cut: connections go through it byte by byte, until a test breaks it. */
import { connect, createServer, type NetConnectOpts, type Socket } from 'node:net';

export interface Relay {
  /** Its own end on 127.0.0.1. */
  readonly port: number;
  /** Connections are reset and new ones refused. */
  readonly cut: () => void;
  /** Nothing passes any more, and nobody is told: a half-open connection. */
  readonly mute: () => void;
  readonly mend: () => void;
  readonly close: () => Promise<void>;
}

export async function openRelay(to: () => NetConnectOpts): Promise<Relay> {
  let state: 'whole' | 'cut' | 'muted' = 'whole';
  const pairs = new Set<readonly [Socket, Socket]>();
  const drop = () => {
    for (const [near, far] of pairs) {
      near.resetAndDestroy();
      far.destroy();
    }
    pairs.clear();
  };
  const server = createServer({ noDelay: true }, (near) => {
    if (state !== 'whole') {
      near.resetAndDestroy();
      return;
    }
    const far = connect(to());
    const pair = [near, far] as const;
    pairs.add(pair);
    const end = () => {
      pairs.delete(pair);
      near.destroy();
      far.destroy();
    };
    for (const [one, other] of [pair, [far, near] as const]) {
      one.on('data', (bytes) => {
        if (state === 'muted') return;
        if (!other.write(bytes)) one.pause();
      });
      other.on('drain', () => one.resume());
      one.on('end', () => other.end());
      one.on('close', end);
      one.on('error', end);
    }
  });
  const port = await new Promise<number>((done, fail) => {
    server.once('error', fail);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      done(typeof address === 'object' && address ? address.port : 0);
    });
  });
  return {
    port,
    cut: () => {
      state = 'cut';
      drop();
    },
    mute: () => {
      state = 'muted';
    },
    mend: () => {
      // What was muted has lost bytes and can only be begun anew.
      if (state === 'muted') drop();
      state = 'whole';
    },
    close: async () => {
      drop();
      await new Promise<void>((done) => server.close(() => done()));
    },
  };
}
