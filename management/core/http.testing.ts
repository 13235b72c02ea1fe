/** The HTTP front with commands of a test's own and without a database. */
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createLog } from '../../protocol/log.ts';
import { type AnyCommand, registry } from './command.ts';
import type { Caller } from './context.ts';
import { closeHttpServer, createHttpServer, type HttpOptions } from './http.ts';
import { openMetrics } from './metrics.ts';
import type { Services } from './services.ts';
import type { Setting } from './settings.ts';

export const ADMIN: Caller = {
  userId: '01900000-0000-7000-8000-000000000001' as Caller['userId'],
  userName: 'admin',
  accountId: '01900000-0000-7000-8000-000000000002' as Caller['accountId'],
  accountName: 'admin',
  accountType: 'admin',
  domainId: '01900000-0000-7000-8000-000000000003' as Caller['domainId'],
  domainPath: '/',
  roleName: 'Root Admin',
};

export interface Front {
  readonly port: number;
  readonly url: string;
  readonly server: Server;
}

/** Settings have their defaults, or what `values` says; `session` below stands for a database without any session. */
export async function withFront(
  options: Partial<Omit<HttpOptions, 'services' | 'registry'>> & {
    readonly commands?: readonly AnyCommand[];
    readonly services?: Partial<Services>;
    readonly values?: Readonly<Record<string, string>>;
  },
  work: (front: Front) => Promise<void>,
): Promise<void> {
  const { commands = [], services = {}, values = {}, ...rest } = options;
  const nothing = { findOneBy: async () => null };
  const server = createHttpServer({
    services: {
      log: createLog('test', { level: 'silent' }),
      settings: { get: <T>({ name, read, defaultValue }: Setting<T>) => read(values[name] ?? defaultValue) },
      db: { read: nothing, transact: async (run: (tx: unknown) => Promise<unknown>) => run({ delete: async () => ({}) }) },
      ...services,
    } as unknown as Services,
    registry: registry(commands),
    callers: { byApiKey: async () => null, byUserId: async () => null },
    metrics: openMetrics(),
    mounts: [],
    health: async () => ({}),
    ...rest,
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  try {
    await work({ port, url: `http://127.0.0.1:${port}/client/api`, server });
  } finally {
    await closeHttpServer(server, 0);
  }
}
