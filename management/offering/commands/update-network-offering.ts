import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { p } from '../../core/params.ts';
import { networkOfferings } from '../entities.ts';
import { loadNetworkOfferings, networkOfferingView } from '../views.ts';
import { checkName, networkOfferingKind } from '../visibility.ts';

export const updateNetworkOffering = command({
  name: 'updateNetworkOffering',
  about: 'Changes what a network offering is called, and whether new networks may use it.',
  access: 'admin',
  event: { type: 'NETWORK.OFFERING.EDIT', text: 'updating network offering', resource: 'NetworkOffering' },
  params: {
    id: p.entity('the network offering', networkOfferingKind, 'operate'),
    name: p.string('the new name'),
    displaytext: p.string('the new display text'),
    state: p.word('whether new networks may use it', ['Enabled', 'Disabled']),
    availability: p.word('the new availability', ['Required', 'Optional', 'Unavailable']),
  },
  reply: reply.one(networkOfferingView),
  run: async ({ db }, { id: offering, name, displaytext, state, availability }) => {
    if (!offering)
      throw new CloudError('MalformedParameter', 'Unable to execute API command updatenetworkoffering due to missing parameter id');
    const { id } = offering;
    checkName(name, 'network offering');
    const changes = {
      ...(name === undefined ? {} : { name }),
      ...(displaytext === undefined ? {} : { displayText: displaytext }),
      ...(state === undefined ? {} : { state }),
      ...(availability === undefined ? {} : { availability }),
    };
    if (Object.keys(changes).length > 0) await db.transact((tx) => tx.update(networkOfferings, { id }, changes));
    const [shown] = await loadNetworkOfferings(db, [id]);
    if (!shown) throw new CloudError('NotFound', 'the network offering is gone', { id });
    return shown;
  },
});
