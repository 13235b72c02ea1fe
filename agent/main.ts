/** The host agent: `node agent.mjs <config file>`. It does what it is told, tells what changed, and leaves machines running when it ends. */
import { realpath, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CloudError } from '../protocol/errors.ts';
import { type AgentLink, openAgentLink } from '../protocol/link/agent-link.ts';
import { fileIdentityStore } from '../protocol/link/identity.ts';
import { createLog, type Log } from '../protocol/log.ts';
import { powerReport } from './beat.ts';
import { type AgentConfig, readConfig } from './config.ts';
import { hostHandlers, logged } from './handlers.ts';
import { drivers } from './hypervisors/index.ts';
import { retirement } from './retirement.ts';
import { version } from './version.ts';

export interface Agent {
  /** Null for a host that was removed from its cloud. */
  readonly link: AgentLink | null;
  /** Says goodbye to management. Machines keep running. */
  close(): Promise<void>;
}

const LOG_BYTES_MAX = 64 * 1024 * 1024;
const LOG_LOOK_MILLISECONDS = 600_000;

export async function openAgent(config: AgentConfig, log: Log): Promise<Agent> {
  let link: AgentLink | null = null;
  const host = await drivers[config.driver]({ config, identity: () => link?.identity() ?? null, log });
  // Routers on this host need its relay before the host itself has its link back.
  await host.restore();

  const identityDirectory = join(config.stateDirectory, 'identity');
  const close = async (): Promise<void> => {
    await link?.close();
    await host.close();
  };
  const end = retirement(identityDirectory, async () => {
    log.info('this host was removed from its cloud; its agent waits to be installed anew, or taken off');
    await close();
  });
  if (await end.isRetired()) {
    log.info('this host was removed from its cloud; install the agent anew to bring it back');
    return { link: null, close: () => host.close() };
  }

  const report = powerReport(() => host.machines.list());
  const opened = openAgentLink({
    kind: config.kind,
    id: config.id,
    servers: config.servers,
    join: config.join,
    store: fileIdentityStore(identityDirectory),
    version,
    handlers: logged([...hostHandlers(host), end.handler], log),
    // A hypervisor that does not answer is no reason to be silent: the host is there, and what runs on it is not known now.
    beat: () =>
      report.beat().catch((err: unknown) => {
        log.warn({ err }, 'the machines could not be listed for the heartbeat');
        return {};
      }),
    onUp: report.restart,
    log,
  });
  link = opened;
  host.watch(() => {
    opened.ring('machine');
    opened.beatNow();
  });
  return { link: opened, close };
}

/** Standard output is appended to the log file, so cutting it to nothing makes it start again at its beginning. */
function boundLog(path: string, log: Log): void {
  const look = async (): Promise<void> => {
    if ((await stat(path)).size > LOG_BYTES_MAX) await truncate(path, 0);
  };
  setInterval(
    () => void look().catch((err: unknown) => log.warn({ err }, 'the log file could not be bounded')),
    LOG_LOOK_MILLISECONDS,
  ).unref();
}

async function main(configPath: string | undefined): Promise<void> {
  // QEMU's account must be able to walk to the files it is given; what is private says so itself.
  process.umask(0o022);
  const log = createLog('agent');
  process.on('uncaughtException', (err) => {
    log.fatal({ err }, 'the agent fails; it will be started again');
    process.exit(1);
  });
  if (configPath === undefined) throw new CloudError('BadRequest', 'usage: agent.mjs <config file>');
  const config = await readConfig(configPath);
  const agent = await openAgent(config, log);
  if (config.logFile !== null) boundLog(config.logFile, log);
  log.info({ id: config.id, driver: config.driver, version }, 'the agent is up');
  // What keeps a retired agent running is nothing but this; ended, it would be started again and again.
  const waiting = setInterval(() => {}, LOG_LOOK_MILLISECONDS);

  let ending = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (ending) return;
      ending = true;
      clearInterval(waiting);
      log.info({ signal }, 'the agent ends');
      // Somebody waits for this; a link that cannot be said goodbye to must not hold it.
      setTimeout(() => process.exit(0), 8000).unref();
      agent.close().then(
        () => process.exit(0),
        (err: unknown) => {
          log.error({ err }, 'the agent could not end in order');
          process.exit(1);
        },
      );
    });
  }
}

const started = process.argv[1];
if (started !== undefined && (await realpath(started)) === (await realpath(fileURLToPath(import.meta.url)))) await main(process.argv[2]);
