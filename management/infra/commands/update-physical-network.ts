import { CloudError } from '../../../protocol/errors.ts';
import { allocationStates } from '../../../protocol/states/host.ts';
import { command, reply } from '../../core/command.ts';
import { lock, move, type Tx } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { type PhysicalNetworkRow, physicalNetworks, zones } from '../entities.ts';
import { physicalNetworkKind } from '../kinds.ts';
import { physicalNetworkShown } from '../sagas/shown.ts';
import { physicalNetworkView } from '../views.ts';
import { mustBeFreeVnets, readIsolationMethod, readVnets, type Vnets } from './physical-network-params.ts';
import { allocationStateParam } from './zone-params.ts';

export const updatePhysicalNetwork = command({
  name: 'updatePhysicalNetwork',
  about: 'Enables or disables a physical network, or changes its numbers and tags.',
  access: 'admin',
  event: { type: 'PHYSICAL.NETWORK.UPDATE', text: 'updating physical network' },
  params: {
    id: required(p.entity('the physical network', physicalNetworkKind, 'operate')),
    state: allocationStateParam('Enabled or Disabled'),
    vlan: p.string('numbers that guest networks may have, such as 10000-10999'),
    tags: p.texts('its tags'),
  },
  reply: reply.job(physicalNetworkView),
  run: (context, { id: { id, zoneId }, state, vlan, tags }) =>
    context.db.transact(async (tx) => {
      await lock(tx, zones, { id: zoneId });
      const network = await lock(tx, physicalNetworks, { id });
      if (!network || network.removedAt) throw new CloudError('NotFound', 'the physical network has been removed meanwhile');
      if (vlan !== undefined && vlan.trim() !== '') {
        const vnets = readVnets(vlan, readIsolationMethod(network.isolationMethods));
        await mustBeFreeVnets(tx, zoneId, vnets, id);
        await mustCoverNetworks(tx, network, vnets);
        await tx.update(physicalNetworks, { id }, { vnetStart: vnets.start, vnetEnd: vnets.end });
      }
      if (tags !== undefined) await tx.update(physicalNetworks, { id }, { tags: tags.length > 0 ? tags.join(',') : null });
      if (state !== undefined && state !== network.state)
        await move(tx, physicalNetworks, allocationStates, network, state === 'Enabled' ? 'enable' : 'disable');
      return context.start(physicalNetworkShown, { id }, { instance: { type: 'PhysicalNetwork', id } }, tx);
    }),
});

/** Networks that are implemented keep their number, so it has to stay among those of the physical network. */
async function mustCoverNetworks(tx: Tx, { id, name }: PhysicalNetworkRow, { start, end }: Vnets): Promise<void> {
  const [row] = await tx.query(
    'SELECT COUNT(*) AS n FROM network WHERE physical_network_id = ? AND vni IS NOT NULL AND (vni < ? OR vni > ?)',
    [id, start, end],
  );
  const count = Number(row?.n ?? 0);
  if (count > 0) throw new CloudError('InUse', `${count} guest network(s) of ${name} have a number outside ${start}-${end}`);
}
