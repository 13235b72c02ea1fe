import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { mustBeEmpty } from '../blockers.ts';
import { zones } from '../entities.ts';
import { zoneKind } from '../kinds.ts';
import { moveAllocation } from '../states.ts';

export const deleteZone = command({
  name: 'deleteZone',
  about: 'Removes a zone that has nothing in it any more.',
  access: 'admin',
  event: { type: 'ZONE.DELETE', text: 'deleting zone', resource: 'Zone' },
  params: { id: required(p.entity('the zone', zoneKind, 'operate')) },
  reply: reply.success(),
  run: async (context, { id: { id, name } }) => {
    const values = [id];
    const alive = (table: string) => `SELECT COUNT(*) AS n FROM ${table} WHERE zone_id = ? AND removed_at IS NULL`;
    await context.db.transact(async (tx) => {
      const zone = await lock(tx, zones, { id });
      if (!zone || zone.removedAt) return;
      await mustBeEmpty(tx, `the zone ${name}`, [
        { one: 'virtual machine', many: 'virtual machines', sql: `${alive('machine')} AND kind = 'guest'`, values },
        { one: 'system VM', many: 'system VMs', sql: `${alive('machine')} AND kind <> 'guest'`, values },
        { one: 'volume', many: 'volumes', sql: `${alive('volume')} AND state NOT IN ('Expunged')`, values },
        { one: 'host', many: 'hosts', sql: alive('host'), values },
        { one: 'cluster', many: 'clusters', sql: alive('cluster'), values },
        { one: 'pod', many: 'pods', sql: alive('pod'), values },
        { one: 'primary storage pool', many: 'primary storage pools', sql: alive('storage_pool'), values },
        { one: 'image store', many: 'image stores', sql: alive('image_store'), values },
        { one: 'guest network', many: 'guest networks', sql: alive('network'), values },
        { one: 'IP range', many: 'IP ranges', sql: alive('ip_range'), values },
        { one: 'physical network', many: 'physical networks', sql: alive('physical_network'), values },
      ]);
      await moveAllocation(tx, zones, zone, 'Disabled');
      await tx.update(zones, { id }, { removedAt: new Date(), enableWhenReady: false });
    });
  },
});
