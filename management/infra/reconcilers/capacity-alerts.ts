import { IsNull } from 'typeorm';
import { alertTypes, raiseAlert, resolveAlert } from '../../core/events.ts';
import { reconciler } from '../../core/reconcile.ts';
import { alerts } from '../../core/tables.ts';
import { capacitiesOf, capacityTypes, percentOf } from '../capacity.ts';
import { clusters } from '../entities.ts';
import { cpuNotificationThreshold, memoryNotificationThreshold } from '../settings.ts';

const watched = [
  { type: capacityTypes.cpu.type, alert: 'cpu', word: 'CPU', threshold: cpuNotificationThreshold },
  { type: capacityTypes.memory.type, alert: 'memory', word: 'memory', threshold: memoryNotificationThreshold },
] as const;

/** Tells the operator when a cluster has promised much of what it has, and when that has passed. */
export const capacityAlertsReconciler = reconciler({
  name: 'infra.capacityAlerts',
  everySeconds: 60,
  wakeOn: [],
  run: async (services) => {
    const { db, settings } = services;
    const rows = await db.read.find(clusters, { where: { removedAt: IsNull() } });
    const capacities = await capacitiesOf(
      services,
      'cluster',
      rows.map(({ id }) => id),
    );
    for (const { id, name, zoneId, podId } of rows) {
      for (const { type, alert, word, threshold } of watched) {
        const capacity = capacities.get(id)?.find((each) => each.type === type);
        const { total, used } = capacity ?? { total: 0, used: 0 };
        const isHigh = total > 0 && used / total >= settings.get(threshold, { cluster: id });
        await db.transact(async (tx) => {
          const open = await tx.existsBy(alerts, { type: alertTypes[alert][0], resourceId: id, resolvedAt: IsNull() });
          // Said once; it stays open until it has passed.
          if (isHigh && !open) {
            const words = `The cluster ${name} has promised ${percentOf(used, total)}% of its ${word}; add hosts, or remove machines`;
            await raiseAlert(tx, alert, words, { zoneId, podId, clusterId: id, resourceId: id });
          } else if (!isHigh && open) await resolveAlert(tx, alert, id);
        });
      }
    }
  },
});
