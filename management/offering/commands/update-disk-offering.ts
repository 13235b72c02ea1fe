import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { diskOfferings } from '../entities.ts';
import { diskOfferingView, loadDiskOfferings } from '../views.ts';
import { checkName, diskOfferingKind } from '../visibility.ts';
import { tidyTags } from './create-service-offering.ts';

export const updateDiskOffering = command({
  name: 'updateDiskOffering',
  about: 'Changes what a disk offering is called and who may see it.',
  access: 'domainAdmin',
  event: { type: 'DISK.OFFERING.EDIT', text: 'updating disk offering', resource: 'DiskOffering' },
  params: {
    id: required(p.entity('the disk offering', diskOfferingKind, 'operate')),
    name: p.string('the new name'),
    displaytext: p.string('the new display text', { max: 4096 }),
    displayoffering: p.boolean('whether users see it'),
    tags: p.string('tags that the storage pool of a new volume must have; empty for none'),
    state: p.word('Inactive keeps new volumes from using it', ['Active', 'Inactive']),
  },
  reply: reply.one(diskOfferingView),
  run: async ({ db }, { id: { id }, name, displaytext, displayoffering, tags, state }) => {
    checkName(name, 'disk offering');
    const changes = {
      ...(name === undefined ? {} : { name }),
      ...(displaytext === undefined ? {} : { displayText: displaytext }),
      ...(displayoffering === undefined ? {} : { displayOffering: displayoffering }),
      ...(tags === undefined ? {} : { tags: tidyTags(tags) }),
      ...(state === undefined ? {} : { state }),
    };
    if (Object.keys(changes).length > 0) await db.transact((tx) => tx.update(diskOfferings, { id }, changes));
    const [shown] = await loadDiskOfferings(db, [id]);
    if (!shown) throw new CloudError('NotFound', 'the disk offering is gone', { id });
    return shown;
  },
});
