/** The API of the lower areas over HTTP with signed requests, on a scratch database, for tests. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { withScratchDatabase } from '../../lab/services.ts';
import { newId } from '../../protocol/ids.ts';
import { createLog } from '../../protocol/log.ts';
import { asTables } from '../core/area.ts';
import { sessionTimeoutMinutes } from '../core/auth/session.ts';
import { sign, stringToSign } from '../core/auth/signature.ts';
import { asCommands, type Registry, registry } from '../core/command.ts';
import { openDatabase } from '../core/db.ts';
import { createHttpServer } from '../core/http.ts';
import { defaultPageSize } from '../core/list.ts';
import { openMetrics } from '../core/metrics.ts';
import { ownerTables } from '../core/owners.ts';
import { openSecrets } from '../core/secrets.ts';
import type { Services } from '../core/services.ts';
import { type AnySetting, openSettings } from '../core/settings.ts';
import { coreTables } from '../core/tables.ts';
import { infraTables } from '../infra/entities.ts';
import { machineTables } from '../machine/entities.ts';
import { metaArea } from '../meta/index.ts';
import { networkTables } from '../network/entities.ts';
import { offeringArea } from '../offering/index.ts';
import { storageTables } from '../storage/entities.ts';
import { templateTables } from '../template/entities.ts';
import { callers } from './callers.ts';
import { accountArea } from './index.ts';

export interface Keys {
  readonly apikey: string;
  readonly secretkey: string;
}
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** What stands under the root key. */
  // biome-ignore lint/suspicious/noExplicitAny: replies are looked at field by field in tests
  readonly body: any;
}
export type Call = (command: string, params?: Readonly<Record<string, string>>) => Promise<Answer>;
export interface Api {
  readonly services: Services;
  readonly registry: Registry;
  readonly url: string;
  readonly adminPassword: string;
  readonly as: (keys: Keys) => Call;
  readonly post: (params: Readonly<Record<string, string>>, cookies?: string) => Promise<Answer>;
  /** As the root admin. */
  readonly admin: Call;
  /** Makes an account and returns its own call, with the ids. */
  readonly account: (
    name: string,
    params: Readonly<Record<string, string>>,
  ) => Promise<{ call: Call; accountId: string; userId: string; keys: Keys }>;
}

async function answer(response: Response): Promise<Answer> {
  const text = await response.text();
  const json: Record<string, unknown> = response.headers.get('content-type')?.startsWith('application/json') ? JSON.parse(text) : { text };
  const [body] = Object.values(json);
  return { status: response.status, headers: response.headers, body };
}

export async function withApi(work: (api: Api) => Promise<void>, moreSettings: readonly AnySetting[] = []): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'nephos-api-'));
  try {
    await withScratchDatabase(async ({ database }) => {
      const log = createLog('test', { level: 'silent' });
      const areas = [metaArea(() => commands.commands), accountArea, offeringArea];
      const commands: Registry = registry(asCommands(...areas.flatMap((area) => area.commands)));
      const tables = [
        ...asTables(...coreTables, ...ownerTables, ...infraTables, ...machineTables, ...networkTables, ...storageTables, ...templateTables),
        ...areas.flatMap((area) => area.tables),
      ];
      const db = await openDatabase({ ...database, poolSize: 6 }, tables, [], log);
      await db.source.synchronize();
      const settings = await openSettings(
        db,
        [defaultPageSize, sessionTimeoutMinutes, ...areas.flatMap((area) => area.settings), ...moreSettings],
        log,
      );
      const needed = {
        config: { varDirectory: directory },
        serverId: newId('managementServer'),
        db,
        settings,
        secrets: await openSecrets(directory),
        log,
        wake: () => {},
      };
      const services = needed as unknown as Services;
      // Twice, as at a second start.
      for (const area of [...areas, ...areas]) await area.seed?.(services);
      const server = createHttpServer({
        services,
        registry: commands,
        callers: callers(services),
        metrics: openMetrics(),
        mounts: [],
        health: async () => ({}),
      });
      await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/client/api`;
      const as =
        ({ apikey, secretkey }: Keys): Call =>
        async (command, params = {}) => {
          const pairs = Object.entries({ ...params, command, response: 'json', apiKey: apikey });
          const signature = sign(stringToSign(pairs, 'raw'), secretkey);
          return answer(await fetch(`${url}?${new URLSearchParams([...pairs, ['signature', signature]])}`, { method: 'POST' }));
        };
      const post: Api['post'] = async (params, cookies) =>
        answer(
          await fetch(url, {
            method: 'POST',
            body: new URLSearchParams({ ...params, response: 'json' }),
            headers: cookies === undefined ? {} : { cookie: cookies },
          }),
        );
      try {
        const adminPassword = (await readFile(join(directory, 'admin-password'), 'utf8')).trim();
        const login = await post({ command: 'login', username: 'admin', password: adminPassword });
        assert.equal(login.status, 200);
        const cookies = login.headers
          .getSetCookie()
          .map((cookie) => cookie.split(';')[0])
          .join('; ');
        const made = await post({ command: 'registerUserKeys', id: login.body.userid, sessionkey: login.body.sessionkey }, cookies);
        const admin = as(made.body.userkeys);
        await work({
          services,
          registry: commands,
          url,
          adminPassword,
          as,
          post,
          admin,
          account: async (name, params) => {
            const created = await admin('createAccount', {
              username: name,
              password: `password of ${name}`,
              email: `${name}@example.org`,
              firstname: name,
              lastname: 'Person',
              ...params,
            });
            assert.equal(created.status, 200, created.body.errortext);
            const { id: accountId, user } = created.body.account;
            const { body } = await admin('registerUserKeys', { id: user[0].id });
            return { accountId, userId: user[0].id, keys: body.userkeys, call: as(body.userkeys) };
          },
        });
      } finally {
        server.close();
        server.closeAllConnections();
        settings.close();
        await db.close();
      }
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
