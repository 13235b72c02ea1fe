/** Console sessions: which proxy gets one, its URL, and keeping the rows true. */
import { CloudError } from '../../protocol/errors.ts';
import { call } from '../../protocol/message.ts';
import { ListConsoles } from '../../protocol/messages/console.ts';
import type { Id } from '../../protocol/schema.ts';
import type { Context } from '../core/context.ts';
import type { Tx } from '../core/db.ts';
import { reconciler } from '../core/reconcile.ts';
import type { Services } from '../core/services.ts';
import { agents } from '../core/tables.ts';
import type { MachineRow } from '../machine/index.ts';
import { consoleSessionsMax } from '../systemvm/index.ts';
import { consoleSessions } from './entities.ts';
import { consoleVia, endpointUrl } from './settings.ts';

export interface Proxy {
  readonly id: Id<'machine'>;
  readonly zoneId: Id<'zone'>;
  readonly publicAddress: string;
  readonly sessions: number;
}

/** Pure: a viewer's machine goes back to its last proxy while that has room, else to the one with the most room. */
export function pickProxy(proxies: readonly Proxy[], lastProxyId: string | null, sessionsMax: number): Proxy | null {
  const withRoom = proxies.filter(({ sessions }) => sessions < sessionsMax);
  return (
    withRoom.find(({ id }) => id === lastProxyId) ??
    [...withRoom].sort((a, b) => a.sessions - b.sessions || (a.id < b.id ? -1 : 1))[0] ??
    null
  );
}

export async function chooseProxy(tx: Tx, { settings }: Pick<Services, 'settings'>, machine: MachineRow): Promise<Proxy> {
  const proxies: (Omit<Proxy, 'sessions'> & { sessions: string })[] = await tx.query(
    `SELECT s.id AS id, s.zone_id AS zoneId, c.address AS publicAddress,
            (SELECT COUNT(*) FROM console_session o WHERE o.proxy_id = s.id AND (o.state = 'Connected' OR (o.state = 'Waiting' AND o.expires_at > ?))) AS sessions
       FROM system_vm s JOIN agent a ON a.id = s.id JOIN machine m ON m.id = s.id JOIN nic c ON c.machine_id = s.id AND c.role = 'public' AND c.removed_at IS NULL
      WHERE s.kind = 'console-proxy' AND s.zone_id = ? AND s.removed_at IS NULL AND s.draining = FALSE AND a.state = 'Up' AND m.state = 'Running'`,
    [new Date(), machine.zoneId],
  );
  const last = await tx.findOne(consoleSessions, { where: { machineId: machine.id }, order: { id: 'DESC' } });
  if (proxies.length === 0)
    throw new CloudError('ResourceUnavailable', 'no console proxy is up in this zone; one is being made, try again in a minute');
  const picked = pickProxy(
    proxies.map((proxy) => ({ ...proxy, sessions: Number(proxy.sessions) })),
    last?.proxyId ?? null,
    settings.get(consoleSessionsMax, { zone: machine.zoneId }),
  );
  if (!picked)
    throw new CloudError('InsufficientCapacity', 'all console proxies of this zone are full; try again when a console has been closed');
  return picked;
}

const PAGE = 'resource/noVNC/vnc.html';

export function consoleUrl(
  { settings, config }: Pick<Context, 'settings' | 'config'>,
  { id, zoneId, publicAddress }: Proxy,
  token: string,
) {
  const direct = settings.get(consoleVia, { zone: zoneId }) === 'proxy';
  const own =
    settings.get(endpointUrl) || `http://${config.http.address === '0.0.0.0' ? 'localhost' : config.http.address}:${config.http.port}`;
  const base = new URL(direct ? `http://${publicAddress}/` : `${new URL(own).origin}/console/${id}/`);
  const port = base.port || (base.protocol === 'https:' ? '443' : '80');
  const page = new URL(PAGE, base);
  page.search = new URLSearchParams({ autoconnect: 'true', port, token }).toString();
  return { url: page.href, websocket: { token, host: base.hostname, port, path: `${base.pathname.replace(/^\//, '')}websockify` } };
}

/** Asks every proxy what became of its sessions; sessions of proxies that are gone have ended. */
export const consolesReconciler = reconciler({
  name: 'vm.consoles',
  everySeconds: 15,
  wakeOn: ['console'],
  run: async (services) => {
    const { db, agents: asks, log } = services;
    const now = new Date();
    const open = await db.rows<{ proxyId: Id<'machine'> }>(
      "SELECT DISTINCT proxy_id AS proxyId FROM console_session WHERE state IN ('Waiting', 'Connected')",
    );
    for (const { proxyId } of open) {
      const agent = await db.read.findOneBy(agents, { id: proxyId });
      if (!agent || agent.state === 'Removed') {
        await db.rows("UPDATE console_session SET state = 'Ended', ended_at = ? WHERE proxy_id = ? AND state IN ('Waiting', 'Connected')", [
          now,
          proxyId,
        ]);
        continue;
      }
      if (agent.state !== 'Up') continue;
      try {
        const { sessions } = await asks.ask({ kind: 'console-proxy', id: proxyId }, call(ListConsoles, {}), {
          requestId: 'vm.consoles',
          linkGraceSeconds: 0,
        });
        for (const { sessionId, state, clientAddress, acquiredAt, endedAt } of sessions) {
          await db.rows(
            "UPDATE console_session SET state = ?, client_address = ?, acquired_at = ?, ended_at = ? WHERE id = ? AND proxy_id = ? AND state IN ('Waiting', 'Connected')",
            [
              state,
              clientAddress,
              acquiredAt === null ? null : new Date(acquiredAt),
              endedAt === null ? null : new Date(endedAt),
              sessionId,
              proxyId,
            ],
          );
        }
        const known = sessions.map(({ sessionId }) => sessionId);
        // The proxy has forgotten what ended long ago, and whatever it had when it started anew.
        await db.rows(
          `UPDATE console_session SET state = 'Ended', ended_at = ? WHERE proxy_id = ? AND state IN ('Waiting', 'Connected') AND created_at < ? ${known.length > 0 ? 'AND id NOT IN (?)' : ''}`,
          [now, proxyId, new Date(now.getTime() - 10_000), ...(known.length > 0 ? [known] : [])],
        );
      } catch (error) {
        log.debug({ err: error, proxy: proxyId }, 'console proxy did not list its sessions');
      }
    }
  },
});
