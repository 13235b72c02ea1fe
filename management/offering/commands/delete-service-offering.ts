import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { serviceOfferings } from '../entities.ts';
import { serviceOfferingKind } from '../visibility.ts';

export const deleteServiceOffering = command({
  name: 'deleteServiceOffering',
  about: 'Removes a service offering; machines that have it keep their size.',
  access: 'domainAdmin',
  event: { type: 'SERVICE.OFFERING.DELETE', text: 'deleting service offering', resource: 'ServiceOffering' },
  params: { id: required(p.entity('the service offering', serviceOfferingKind, 'operate')) },
  reply: reply.success(),
  run: async ({ db }, { id: { id, builtIn } }) => {
    if (builtIn) throw new CloudError('InvalidParameter', 'this service offering cannot be deleted: system VMs need it');
    await db.transact((tx) => tx.update(serviceOfferings, { id }, { removedAt: new Date() }));
  },
});
