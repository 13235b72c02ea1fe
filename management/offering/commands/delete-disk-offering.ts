import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { diskOfferings } from '../entities.ts';
import { diskOfferingKind } from '../visibility.ts';

export const deleteDiskOffering = command({
  name: 'deleteDiskOffering',
  about: 'Removes a disk offering; volumes that have it stay as they are.',
  access: 'domainAdmin',
  event: { type: 'DISK.OFFERING.DELETE', text: 'deleting disk offering', resource: 'DiskOffering' },
  params: { id: required(p.entity('the disk offering', diskOfferingKind, 'operate')) },
  reply: reply.success(),
  run: async ({ db }, { id: { id } }) => {
    await db.transact((tx) => tx.update(diskOfferings, { id }, { removedAt: new Date() }));
  },
});
