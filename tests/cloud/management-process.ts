/** Management as a process of its own, for tests that kill it. Its simulated hosts live with whoever started it. */
import { readConfig } from '../../management/config.ts';
import { setSimulatedHosts } from '../../management/infra/index.ts';
import { startManagement } from '../../management/server.ts';
import { createLog } from '../../protocol/log.ts';
import { guardConnections } from './one-connection.ts';

const [path = '', beatMs = '1000', ...known] = process.argv.slice(2);
const hosts = new Set(known);
const tell = (message: object) => process.send?.(message);

setSimulatedHosts({
  has: (id) => hosts.has(id),
  add: async ({ joinToken, ...join }) => {
    hosts.add(join.hostId);
    tell({ add: { ...join, joinToken: joinToken.reveal() } });
  },
  remove: async (hostId) => {
    hosts.delete(hostId);
    tell({ remove: hostId });
  },
});
const management = await startManagement({
  config: readConfig(path),
  log: createLog('cloud', { level: process.env['NEPHOS_LOG_LEVEL'] ?? 'silent' }),
  beatMs: Number(beatMs),
});
guardConnections(management.services.db);
tell({ httpPort: management.httpPort });
// Nobody is left to use it.
process.on('disconnect', () => process.exit(1));
