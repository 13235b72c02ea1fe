import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { removePrivateAddresses } from '../addresses.ts';
import { mustBeEmpty } from '../blockers.ts';
import { podRanges, pods } from '../entities.ts';
import { podKind } from '../kinds.ts';

export const deletePod = command({
  name: 'deletePod',
  about: 'Removes a pod that has nothing in it any more.',
  access: 'admin',
  event: { type: 'POD.DELETE', text: 'deleting pod', resource: 'Pod' },
  params: { id: required(p.entity('the pod', podKind, 'operate')) },
  reply: reply.success(),
  run: async (context, { id: { id, name } }) => {
    const values = [id];
    const alive = (table: string) => `SELECT COUNT(*) AS n FROM ${table} WHERE pod_id = ? AND removed_at IS NULL`;
    await context.db.transact(async (tx) => {
      const pod = await lock(tx, pods, { id });
      if (!pod || pod.removedAt) return;
      await mustBeEmpty(tx, `the pod ${name}`, [
        { one: 'host', many: 'hosts', sql: alive('host'), values },
        { one: 'cluster', many: 'clusters', sql: alive('cluster'), values },
        { one: 'primary storage pool', many: 'primary storage pools', sql: alive('storage_pool'), values },
        { one: 'IP range', many: 'IP ranges', sql: alive('ip_range'), values },
        {
          one: 'management address in use',
          many: 'management addresses in use',
          sql: `SELECT COUNT(*) AS n FROM private_address WHERE scope_id = ? AND nic_id IS NOT NULL`,
          values,
        },
      ]);
      for (const range of await tx.findBy(podRanges, { podId: id })) {
        await removePrivateAddresses(tx, { kind: 'management', scopeId: id }, range);
        await tx.delete(podRanges, { id: range.id });
      }
      await tx.update(pods, { id }, { removedAt: new Date() });
    });
  },
});
