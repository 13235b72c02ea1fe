/** A whole management server in a process of its own, on the database its parent made; hosts with `http://sim/…` addresses run in the parent. */

import type { Config } from '../management/config.ts';
import { setSimulatedHosts } from '../management/infra/index.ts';
import { startManagement } from '../management/server.ts';
import { CloudError } from '../protocol/errors.ts';
import { createLog } from '../protocol/log.ts';
import type { Id } from '../protocol/schema.ts';

export interface ManagementFigures {
  readonly up: number;
  readonly beats: number;
  readonly cpuSeconds: number;
  readonly residentMib: number;
  readonly refused: Readonly<Record<string, number>>;
}
export interface NewSimulatedHost {
  readonly hostId: Id<'host'>;
  readonly token: string;
  readonly caSha256: string;
  readonly url: string;
  readonly clusterId: string;
}
export type FromManagement =
  | { readonly is: 'ready'; readonly httpPort: number; readonly linkPort: number }
  | { readonly is: 'host'; readonly host: NewSimulatedHost }
  | { readonly is: 'figures'; readonly figures: ManagementFigures };
export type ToManagement = { readonly start: Config; readonly beatMs: number } | { readonly ask: 'figures' };

const send = (message: FromManagement): void => {
  process.send?.(message);
};
setSimulatedHosts({
  has: () => true,
  add: async ({ hostId, joinToken, caSha256, url, clusterId }) =>
    send({ is: 'host', host: { hostId, token: joinToken.reveal(), caSha256, url, clusterId } }),
  remove: async () => {
    throw new CloudError('Internal', 'the benchmark removes no hosts');
  },
});
let beats = 0;
let figures = (): ManagementFigures => {
  throw new CloudError('Unavailable', 'the server is starting');
};
const start = async (config: Config, beatMs: number): Promise<void> => {
  const { hub, httpPort, linkPort } = await startManagement({
    config,
    beatMs,
    log: createLog('bench', { level: process.env['NEPHOS_LOG_LEVEL'] ?? 'silent' }),
  });
  hub.onBeat(() => {
    beats += 1;
  });
  figures = () => {
    const { user, system } = process.cpuUsage();
    return {
      up: hub.connected().filter(({ state }) => state === 'Up').length,
      beats,
      cpuSeconds: (user + system) / 1e6,
      residentMib: Math.round(process.memoryUsage.rss() / 1048576),
      refused: hub.counts.refused,
    };
  };
  send({ is: 'ready', httpPort, linkPort });
};
process.on('message', (message: ToManagement) => {
  if ('start' in message) void start(message.start, message.beatMs);
  else send({ is: 'figures', figures: figures() });
});
process.on('disconnect', () => process.exit(0));
