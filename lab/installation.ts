/** Paths and files of this checkout's installation: where things lie under var/, and the management server's configuration. */
import { join, resolve } from 'node:path';
import type { Config } from '../management/config.ts';
import { CloudError } from '../protocol/errors.ts';
import type { ServiceConnections } from './services.ts';
import { topology } from './topology.ts';

export const root = resolve(import.meta.dirname, '..');
export const varDirectory = process.env['NEPHOS_VAR'] ? resolve(process.env['NEPHOS_VAR']) : join(root, 'var');
export const HTTP_PORT = 8080;
export const LINK_PORT = 8250;

export const pathsOf = (varDir: string) => ({
  config: join(varDir, 'management.json'),
  systemTemplate: join(varDir, 'system-template.json'),
  iso: join(varDir, 'templates/systemvm.iso'),
  adminPassword: join(varDir, 'admin-password'),
  /** What `up` made and told: logins, keys, ids. Readable by root alone. */
  demo: join(varDir, 'demo.json'),
  managementLog: join(varDir, 'log/management.log'),
  managementPid: join(varDir, 'run/management.pid'),
});

/** Every address of the machine, so that a browser elsewhere reaches the demo, unless whoever starts it says otherwise. */
function httpAddress(): string {
  const address = process.env['NEPHOS_HTTP_ADDRESS'] ?? '0.0.0.0';
  // What runs on this machine asks at 127.0.0.1.
  if (address !== '0.0.0.0' && address !== '127.0.0.1')
    throw new CloudError('InvalidParameter', `NEPHOS_HTTP_ADDRESS is 0.0.0.0 or 127.0.0.1, not ${address}`);
  return address;
}

export const managementConfig = (varDir: string, { database, redis }: ServiceConnections): Config => ({
  varDirectory: varDir,
  http: { address: httpAddress(), port: HTTP_PORT },
  link: { addresses: [topology.machine.management.address], port: LINK_PORT },
  advertise: [`${topology.machine.management.address}:${LINK_PORT}`],
  database: { ...database, poolSize: 20 },
  redis,
  workers: 100,
  systemTemplate: pathsOf(varDir).systemTemplate,
  agentDirectory: join(root, 'out/agent'),
  simulator: false,
});
export const apiUrl = `http://127.0.0.1:${HTTP_PORT}/client/api`;
