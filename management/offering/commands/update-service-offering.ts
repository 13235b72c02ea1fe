import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { serviceOfferings } from '../entities.ts';
import { loadServiceOfferings, serviceOfferingView } from '../views.ts';
import { checkName, serviceOfferingKind } from '../visibility.ts';
import { tidyTags } from './create-service-offering.ts';

export const updateServiceOffering = command({
  name: 'updateServiceOffering',
  about: 'Changes what a service offering is called, who may see it, and where its new machines may run.',
  access: 'domainAdmin',
  event: { type: 'SERVICE.OFFERING.EDIT', text: 'updating service offering', resource: 'ServiceOffering' },
  params: {
    id: required(p.entity('the service offering', serviceOfferingKind, 'operate')),
    name: p.string('the new name'),
    displaytext: p.string('the new display text'),
    state: p.word('Inactive keeps new machines from using it', ['Active', 'Inactive']),
    hosttags: p.string('tags that the host of a new machine must have; empty for none'),
    storagetags: p.string('tags that the storage pool of a new root disk must have; empty for none'),
  },
  reply: reply.one(serviceOfferingView),
  run: async ({ db }, { id: { id, builtIn }, name, displaytext, state, hosttags, storagetags }) => {
    checkName(name, 'service offering');
    if (builtIn && state === 'Inactive') throw new CloudError('InvalidParameter', 'system VMs need this service offering');
    const changes = {
      ...(name === undefined ? {} : { name }),
      ...(displaytext === undefined ? {} : { displayText: displaytext }),
      ...(state === undefined ? {} : { state }),
      ...(hosttags === undefined ? {} : { hostTags: tidyTags(hosttags) }),
      ...(storagetags === undefined ? {} : { storageTags: tidyTags(storagetags) }),
    };
    if (Object.keys(changes).length > 0) await db.transact((tx) => tx.update(serviceOfferings, { id }, changes));
    const [shown] = await loadServiceOfferings(db, [id]);
    if (!shown) throw new CloudError('NotFound', 'the service offering is gone', { id });
    return shown;
  },
});
