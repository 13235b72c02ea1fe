import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { domainKind } from '../../core/list.ts';
import { p, required } from '../../core/params.ts';
import { diskOfferings } from '../entities.ts';
import { newDiskOffering } from '../new-rows.ts';
import { diskOfferingView, loadDiskOfferings } from '../views.ts';
import { checkName, domainsFor, limitTo } from '../visibility.ts';
import { tidyTags } from './create-service-offering.ts';

export const createDiskOffering = command({
  name: 'createDiskOffering',
  about: 'Creates a disk offering: a size of volumes, or leave to choose one.',
  access: 'domainAdmin',
  event: { type: 'DISK.OFFERING.CREATE', text: 'creating disk offering', resource: 'DiskOffering' },
  params: {
    name: required(p.string('the name of the disk offering')),
    displaytext: p.string('the display text of the disk offering; its name unless given', { max: 4096 }),
    disksize: p.long('GiB of the disk; not for a customized one', { min: 1, max: 1_048_576 }),
    customized: p.boolean('whether the user chooses the size'),
    displayoffering: p.boolean('whether users see it; true unless given'),
    tags: p.string('tags that a storage pool must have, separated by commas', { max: 4096 }),
    domainid: p.entities('only for the accounts in these domains and below them', domainKind, 'operate'),
  },
  reply: reply.one(diskOfferingView),
  run: async ({ db, caller }, { name, displaytext, disksize, customized = false, displayoffering, tags, domainid }) => {
    checkName(name, 'disk offering');
    if (customized && disksize !== undefined)
      throw new CloudError('InvalidParameter', 'a customized disk offering has no disksize: its user chooses it');
    if (!customized && disksize === undefined) throw new CloudError('InvalidParameter', 'give disksize, or customized=true');
    const row = newDiskOffering({
      name,
      displayText: displaytext ?? name,
      sizeGib: disksize ?? null,
      displayOffering: displayoffering ?? true,
      tags: tidyTags(tags),
    });
    await db.transact(async (tx) => {
      await tx.insert(diskOfferings, row);
      await limitTo(tx, row.id, domainsFor(caller, domainid));
    });
    const [shown] = await loadDiskOfferings(db, [row.id]);
    if (!shown) throw new CloudError('Internal', 'the disk offering was not written', { id: row.id });
    return shown;
  },
});
