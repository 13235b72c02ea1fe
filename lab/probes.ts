import { createConnection } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { CloudError } from '../protocol/errors.ts';
import { logTail } from './processes.ts';

export interface ProbeOptions {
  readonly about: string;
  readonly timeoutSeconds: number;
  readonly logFile: string;
}

/** Asks until the answer is true; what a failing question said last is the cause of the error. */
export const waitUntil = async ({ about, timeoutSeconds, logFile }: ProbeOptions, probe: () => Promise<boolean>): Promise<void> => {
  const deadline = performance.now() + timeoutSeconds * 1000;
  for (let pauseMs = 20; ; pauseMs = Math.min(pauseMs * 1.5, 300)) {
    let cause: unknown;
    try {
      if (await probe()) return;
    } catch (error) {
      cause = error;
    }
    if (performance.now() > deadline)
      throw new CloudError('Unavailable', `${about} did not answer within ${timeoutSeconds} s`, {
        cause,
        logFile,
        lastLines: await logTail(logFile),
      });
    await sleep(pauseMs);
  }
};

/** Opens a TCP connection, sends what is given, and returns what comes back until `enough`; null when nobody answers in time. */
export const exchange = (host: string, port: number, send: Buffer | null, enough: (received: Buffer) => boolean): Promise<Buffer | null> =>
  new Promise((resolve) => {
    const socket = createConnection({ host, port });
    let received: Buffer = Buffer.alloc(0);
    const end = (answer: Buffer | null): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(2000, () => end(null));
    socket.once('error', () => end(null));
    socket.once('close', () => resolve(null));
    socket.once('connect', () => {
      if (send === null) end(received);
      else socket.write(send);
    });
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      if (enough(received)) end(received);
    });
  });

export const portOpen = async (host: string, port: number): Promise<boolean> => (await exchange(host, port, null, () => true)) !== null;

export const waitForPort = ({ host, port, ...options }: ProbeOptions & { readonly host: string; readonly port: number }): Promise<void> =>
  waitUntil(options, () => portOpen(host, port));
