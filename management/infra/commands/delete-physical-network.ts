import { IsNull } from 'typeorm';
import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { mustBeEmpty } from '../blockers.ts';
import { networkServiceProviders, physicalNetworks, trafficTypes } from '../entities.ts';
import { physicalNetworkKind } from '../kinds.ts';
import { removed } from '../sagas/shown.ts';

export const deletePhysicalNetwork = command({
  name: 'deletePhysicalNetwork',
  about: 'Removes a physical network that nothing uses any more, with its traffic types and providers.',
  access: 'admin',
  event: { type: 'PHYSICAL.NETWORK.DELETE', text: 'deleting physical network' },
  params: { id: required(p.entity('the physical network', physicalNetworkKind, 'operate')) },
  reply: reply.job(null),
  run: (context, { id: { id } }) => {
    const alive = (table: string) => `SELECT COUNT(*) AS n FROM ${table} WHERE physical_network_id = ? AND removed_at IS NULL`;
    return context.db.transact(async (tx) => {
      const network = await lock(tx, physicalNetworks, { id });
      if (!network || network.removedAt) throw new CloudError('NotFound', 'the physical network has been removed meanwhile');
      await mustBeEmpty(tx, `the physical network ${network.name}`, [
        { one: 'guest network', many: 'guest networks', sql: alive('network'), values: [id] },
        { one: 'IP range', many: 'IP ranges', sql: alive('ip_range'), values: [id] },
      ]);
      const removedAt = new Date();
      await tx.update(trafficTypes, { physicalNetworkId: id, removedAt: IsNull() }, { removedAt });
      await tx.update(networkServiceProviders, { physicalNetworkId: id, removedAt: IsNull() }, { removedAt });
      await tx.update(physicalNetworks, { id }, { removedAt });
      return context.start(removed, { id }, { instance: { type: 'PhysicalNetwork', id } }, tx);
    });
  },
});
