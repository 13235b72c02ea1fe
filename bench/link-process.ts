/** Starts `link-server.ts` and talks to it. */
import { type ChildProcess, fork } from 'node:child_process';
import { cpus } from 'node:os';
import { CloudError } from '../protocol/errors.ts';
import type { FromServer, ToServer } from './link-server.ts';

export type Figures = Extract<FromServer, { is: 'figures' }>;
export interface LinkServerProcess {
  readonly port: number;
  readonly caSha256: string;
  readonly tokens: (ids: readonly string[]) => Promise<readonly string[]>;
  readonly figures: () => Promise<Figures>;
  readonly kill: () => Promise<void>;
}

export async function startLinkServer(directory: string, port = 0, beatMs = 5000): Promise<LinkServerProcess> {
  const child: ChildProcess = fork(new URL('./link-server.ts', import.meta.url).pathname, [directory, String(port), String(beatMs)], {
    execArgv: ['--import', 'tsx'],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const next = <K extends FromServer['is']>(is: K): Promise<Extract<FromServer, { is: K }>> =>
    new Promise((resolve, reject) => {
      const onMessage = (reply: FromServer): void => {
        if (reply.is !== is) return;
        child.off('message', onMessage);
        child.off('exit', onExit);
        resolve(reply as Extract<FromServer, { is: K }>);
      };
      const onExit = (): void => reject(new CloudError('Unavailable', 'the link server ended'));
      child.on('message', onMessage);
      child.once('exit', onExit);
    });
  const ready = await next('ready');
  const ask = async <K extends FromServer['is']>(question: ToServer, is: K) => {
    const reply = next(is);
    child.send(question);
    return await reply;
  };
  return {
    port: ready.port,
    caSha256: ready.caSha256,
    tokens: async (ids) => (await ask({ ask: 'tokens', kind: 'host', ids }, 'tokens')).tokens,
    figures: () => ask({ ask: 'figures' }, 'figures'),
    kill: () =>
      new Promise((resolve) => {
        child.once('exit', () => resolve());
        child.kill('SIGKILL');
      }),
  };
}

export const machine = (): string => `${cpus().length} x ${cpus()[0]?.model ?? 'unknown CPU'}, node ${process.version}`;
export const percentile = (samples: readonly number[], part: number): number =>
  [...samples].sort((a, b) => a - b)[Math.min(samples.length - 1, Math.floor(samples.length * part))] ?? Number.NaN;
