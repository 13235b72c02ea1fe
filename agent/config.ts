/** The agent's own settings: one JSON file, written at installation. */
import { readFile } from 'node:fs/promises';
import { type Infer, s } from '../protocol/schema.ts';
import { parseJson } from './json.ts';

const bridgeName = s.string({ min: 1, max: 15, match: /^[A-Za-z0-9_.-]+$/ });

export const AgentConfig = s.object({
  id: s.id('host'),
  kind: s.literal('host'),
  /** Management servers, host:port. */
  servers: s.list(s.string({ min: 3, max: 260 }), { max: 16 }),
  /** For the first contact: a one-time token, and the SHA-256 of the CA certificate that will answer. Null once the host has its certificate. */
  join: s.nullable(s.object({ token: s.string({ min: 16, max: 512 }), caSha256: s.sha256() })),
  stateDirectory: s.string({ min: 2, max: 200, match: /^\/[A-Za-z0-9_./-]+$/ }),
  driver: s.oneOf('libvirt', 'simulated'),
  /** Bridges of the host that machines may be plugged into, by traffic. With none named, any bridge that exists. */
  bridges: s.object({ management: s.nullable(bridgeName), public: s.nullable(bridgeName), storage: s.nullable(bridgeName) }),
  /** What a simulated host pretends to have. */
  simulated: s.optional(s.object({ cpuCount: s.int({ min: 1, max: 4096 }), memoryMib: s.int({ min: 64 }) })),
  /** Where standard output goes, so that the agent can keep that file within bounds; null when somebody else does. */
  logFile: s.nullable(s.string({ min: 2, max: 200, match: /^\/[A-Za-z0-9_./-]+$/ })),
});
export type AgentConfig = Infer<typeof AgentConfig>;

export const readConfig = async (path: string): Promise<AgentConfig> => parseJson(AgentConfig, await readFile(path, 'utf8'), path);
