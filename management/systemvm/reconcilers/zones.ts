import { IsNull } from 'typeorm';
import type { SystemVmKind } from '../../../protocol/kinds.ts';
import { reconciler } from '../../core/reconcile.ts';
import type { Services } from '../../core/services.ts';
import { type ZoneRow, zones } from '../../infra/index.ts';
import { createSystemVm } from '../create.ts';
import { zoneKinds } from '../kinds.ts';
import { startSystemVmSaga } from '../sagas/start-system-vm.ts';
import {
  consoleProxiesMax,
  consoleSessionsMax,
  consoleStandby,
  secondaryStorageSessionsMax,
  secondaryStorageStandby,
  secondaryStorageVmsMax,
} from '../settings.ts';
import { ensureSystemTemplate } from '../template.ts';

const BACKOFF_MAX_MS = 300_000;
const failures = new Map<string, { since: Date; notBefore: number; count: number }>();

/** Every enabled zone has as many system VMs of each kind as its load wants. */
export const zonesReconciler = reconciler({
  name: 'systemVm.zones',
  everySeconds: 5,
  wakeOn: ['agent', 'systemVm', 'zone', 'storage', 'image'],
  run: async (services) => {
    const { db } = services;
    await ensureSystemTemplate(services);
    for (const zone of await db.read.find(zones, { where: { removedAt: IsNull(), allocationState: 'Enabled' } })) {
      if (!(await isUsable(services, zone))) continue;
      for (const kind of zoneKinds) await keep(services, zone, kind);
    }
  },
});

/** A host that is up, and a storage pool it reaches. */
async function isUsable({ db }: Services, { id }: ZoneRow): Promise<boolean> {
  const [found] = await db.rows<{ n: string }>(
    `SELECT COUNT(*) AS n FROM host h JOIN agent a ON a.id = h.id JOIN storage_pool p ON p.zone_id = h.zone_id AND (p.cluster_id IS NULL OR p.cluster_id = h.cluster_id)
      WHERE h.zone_id = ? AND h.removed_at IS NULL AND a.state = 'Up' AND h.resource_state = 'Enabled' AND p.removed_at IS NULL AND p.state = 'Up'`,
    [id],
  );
  return Number(found?.n ?? 0) > 0;
}

async function keep(services: Services, zone: ZoneRow, definition: SystemVmKind): Promise<void> {
  const { db, jobs, log } = services;
  const { kind } = definition;
  const wanted = Math.min(await wantedNow(services, zone, definition), mostOf(services, zone, definition));
  const key = `${zone.id} ${kind}`;
  if (wanted === 0 || !(await mayTry(services, key, zone, kind))) return;
  const started = await db.transact(async (tx) => {
    // The zone's row is the lock: two looks at the same time make one system VM.
    await tx.query('SELECT id FROM zone WHERE id = ? FOR UPDATE', [zone.id]);
    // One that an operator has stopped, or that is being rebooted, counts: with a successor there would be one too many when it is back.
    const [row] = await tx.query(
      'SELECT COUNT(*) AS n FROM system_vm s WHERE s.zone_id = ? AND s.kind = ? AND s.removed_at IS NULL AND s.draining = FALSE',
      [zone.id, kind],
    );
    if (Number(row.n) >= wanted) return null;
    const id = await createSystemVm(tx, { kind, zoneId: zone.id, network: null });
    log.info({ zone: zone.name, kind, id }, 'a system VM is wanted');
    return jobs.add(tx, startSystemVmSaga, { id, isNew: true }, { requestId: 'systemVm.zones', instance: { type: 'SystemVm', id } });
  });
  if (started) jobs.ring(started);
}

const mostOf = ({ settings }: Services, { id }: ZoneRow, { kind }: SystemVmKind): number =>
  settings.get(kind === 'console-proxy' ? consoleProxiesMax : secondaryStorageVmsMax, { zone: id });

async function wantedNow({ db, settings }: Services, zone: ZoneRow, { kind, wanted }: SystemVmKind): Promise<number> {
  const at = { zone: zone.id };
  const [load] = await db.rows<{ sessions: string | null }>(
    "SELECT SUM(`load`) AS sessions FROM agent WHERE zone_id = ? AND kind = ? AND state = 'Up'",
    [zone.id, kind],
  );
  const sessions = Number(load?.sessions ?? 0);
  if (kind === 'console-proxy') {
    return wanted({
      enabled: zone.details['enableConsoleProxyVm'] !== 'false',
      sessions,
      sessionsPerVm: settings.get(consoleSessionsMax, at),
      standby: settings.get(consoleStandby, at),
    });
  }
  const [stores] = await db.rows<{ n: string }>('SELECT COUNT(*) AS n FROM image_store WHERE zone_id = ? AND removed_at IS NULL', [
    zone.id,
  ]);
  const enabled = Number(stores?.n ?? 0) > 0 && zone.details['enableSecondaryStorageVm'] !== 'false';
  return wanted({
    enabled,
    sessions,
    sessionsPerVm: settings.get(secondaryStorageSessionsMax, at),
    standby: settings.get(secondaryStorageStandby, at),
  });
}

/** After a failed start the next try waits, longer each time. */
async function mayTry({ db }: Services, key: string, zone: ZoneRow, kind: SystemVmKind['kind']): Promise<boolean> {
  const [last] = await db.rows<{ at: Date; state: string }>(
    `SELECT j.completed_at AS at, j.state AS state FROM job j JOIN system_vm s ON s.id = j.instance_id
      WHERE s.zone_id = ? AND s.kind = ? AND j.saga = 'systemVm.start' AND j.completed_at IS NOT NULL ORDER BY j.completed_at DESC LIMIT 1`,
    [zone.id, kind],
  );
  if (last?.state !== 'Failed') {
    failures.delete(key);
    return true;
  }
  const known = failures.get(key);
  if (known?.since.getTime() !== last.at.getTime()) {
    const count = (known?.count ?? 0) + 1;
    failures.set(key, { since: last.at, count, notBefore: Date.now() + Math.min(BACKOFF_MAX_MS, 5000 * 2 ** count) });
    return false;
  }
  return Date.now() >= known.notBefore;
}
