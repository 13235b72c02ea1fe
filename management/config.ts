/** The management process's own settings. Everything else is a setting in the database. */
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { CloudError } from '../protocol/errors.ts';
import { type Infer, parse, s } from '../protocol/schema.ts';

export const ConfigShape = s.object({
  /** Directory for keys, logs and downloads of this server. */
  varDirectory: s.string({ min: 1, max: 1000 }),
  /** Address and port of the API and the web pages. */
  http: s.object({ address: s.string({ max: 45 }), port: s.int({ max: 65_535 }) }),
  /** Addresses on which agents are heard; port 0 takes any free one. */
  link: s.object({ addresses: s.list(s.string({ max: 45 }), { max: 16 }), port: s.int({ max: 65_535 }) }),
  /** What hosts and system VMs are told to dial: host:port, in order. */
  advertise: s.list(s.string({ max: 260 }), { max: 16 }),
  database: s.object({
    host: s.optional(s.string()),
    port: s.optional(s.int({ min: 1, max: 65_535 })),
    socketPath: s.optional(s.string()),
    user: s.string(),
    password: s.string({ max: 500 }),
    database: s.string(),
    poolSize: s.int({ min: 2, max: 500 }),
  }),
  redis: s.object({ path: s.optional(s.string()), url: s.optional(s.string()), db: s.optional(s.int({ max: 65_535 })) }),
  /** Jobs that run at the same time on this server. */
  workers: s.int({ min: 1, max: 10_000 }),
  /** JSON file that names the system VM template, kernel, initrd and payload ISO; null where all hosts are simulated. */
  systemTemplate: s.nullable(s.string({ max: 1000 })),
  /** Directory with the agent for hosts, `agent.mjs`, and what installs it, `install.mjs`; null where all hosts are simulated. */
  agentDirectory: s.nullable(s.string({ max: 1000 })),
  /** Simulated hosts (`addHost url=http://sim/…`) are allowed. */
  simulator: s.boolean(),
});
export type Config = Infer<typeof ConfigShape>;

/** Reads the JSON file at `path`; relative paths in it are seen from the working directory. */
export function readConfig(path: string): Config {
  if (!existsSync(path)) throw new CloudError('InvalidParameter', `there is no configuration file ${path}; \`npm run up\` writes one`);
  const config = parse(ConfigShape, JSON.parse(readFileSync(path, 'utf8')), path);
  return { ...config, varDirectory: resolve(config.varDirectory) };
}
