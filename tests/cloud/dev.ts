/**
 * `npm run dev`: the whole cloud with simulated hosts and system VMs, for developers and for other clients' test suites.
 * `-- --zone Sandbox-simulator-advanced` makes that zone, too.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from '../../lab/installation.ts';
import { startServices, stopServices } from '../../lab/services.ts';
import { createLog } from '../../protocol/log.ts';
import { startCloud } from './cloud.ts';
import { ensureSimulatorZone, knownZones, simulatorPlan } from './simulator-zone.ts';

const PORT = Number(process.env['NEPHOS_DEV_PORT'] ?? 8096);
const { values } = parseArgs({ options: { zone: { type: 'string', multiple: true, default: [] } } });
const unknown = values.zone.filter((name) => !knownZones.has(name));
if (unknown.length > 0) {
  console.error(`there is no zone ${unknown.join(', ')} to make; there are ${[...knownZones.keys()].join(', ')}`);
  process.exit(2);
}
const started = performance.now();
const seconds = () => `${((performance.now() - started) / 1000).toFixed(1)} s`;
const varDirectory = join(root, 'var/dev');
await mkdir(varDirectory, { recursive: true });
const services = await startServices({ varDir: varDirectory, durability: 'fast' });
const cloud = await startCloud({
  services,
  varDirectory,
  httpPort: PORT,
  log: createLog('dev', { level: process.env['NEPHOS_LOG_LEVEL'] ?? 'warn' }),
  downloadMs: 200,
});
const end = async () => {
  await cloud.close();
  await stopServices(varDirectory);
  process.exit(0);
};
// A terminal's Ctrl-C reaches this process more than once when others stand before it.
let isEnding = false;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    if (!isEnding) void end();
    isEnding = true;
  });
}
console.log(`${seconds()}  the API answers at ${cloud.url}`);
console.log(`  apiKey    ${cloud.adminKeys.apiKey}\n  secretKey ${cloud.adminKeys.secretKey}`);
for (const [name, number] of knownZones) {
  if (number > 0 && !values.zone.includes(name)) continue;
  await ensureSimulatorZone(cloud.admin, simulatorPlan(number, 2, name));
  console.log(`${seconds()}  the zone ${name} is ready; Ctrl-C ends the cloud`);
}
