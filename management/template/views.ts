import { In } from 'typeorm';
import { type Caller, isRootAdmin } from '../core/context.ts';
import type { Database } from '../core/db.ts';
import { shownPath } from '../core/owners.ts';
import { type Fields, f, view } from '../core/view.ts';
import { type OsTypeRow, type StoredImageRow, storedImages, type TemplateRow, templates } from './entities.ts';
import type { OsCategory } from './kinds.ts';
import { statusText } from './rules.ts';

interface About {
  readonly accountName: string;
  readonly domainName: string;
  readonly domainPath: string;
  readonly osTypeName: string | null;
  readonly zoneName: string | null;
  readonly storeName: string | null;
}
/** A template or ISO in one zone. */
export interface TemplateShown extends About {
  readonly id: string;
  readonly template: TemplateRow;
  /** Null for a template that is in no zone any more. */
  readonly image: StoredImageRow | null;
  /** False when it stands for the template in all of its zones. */
  readonly inZone: boolean;
  /** Its URL may hold words that are for its owner only. */
  readonly isOwn: boolean;
}

const downloadFields: Fields<TemplateShown> = {
  datastore: f.string('the name of the image store', ({ storeName }) => storeName, { adminOnly: true }),
  datastoreId: f.string('the id of the image store', ({ image }) => image?.storeId, { adminOnly: true }),
  datastoreRole: f.string('what the store is for', () => 'Image'),
  downloadPercent: f.string('how much has arrived, in percent', ({ image }) => String(image?.percent ?? 0)),
  downloadState: f.string('the state of the download', ({ image }) => image?.state),
};

const fields: Fields<TemplateShown> = {
  id: f.string('the id of the template', ({ template }) => template.id),
  name: f.string('the name of the template', ({ template }) => template.name),
  displaytext: f.string('the display text of the template', ({ template }) => template.displayText),
  ispublic: f.boolean('true if every account may use it', ({ template }) => template.isPublic),
  isfeatured: f.boolean('true if it is a featured one', ({ template }) => template.isFeatured),
  isextractable: f.boolean('true if its file can be fetched', ({ template }) => template.isExtractable),
  isready: f.boolean('true if machines can be made of it', ({ image }) => image?.state === 'DOWNLOADED'),
  created: f.date('when it was registered', ({ template }) => template.createdAt),
  removed: f.date('when it was deleted', ({ template }) => template.removedAt),
  passwordenabled: f.boolean('true if it asks for its password', ({ template }) => template.passwordEnabled),
  sshkeyenabled: f.boolean('true if it takes ssh keys', ({ template }) => template.sshKeyEnabled),
  format: f.string('the format of the file that was registered', ({ template }) => template.format),
  bootable: f.boolean('true if machines can boot it', ({ template }) => template.bootable),
  requireshvm: f.boolean('true if it needs full virtualization', ({ template }) => template.requiresHvm),
  isdynamicallyscalable: f.boolean(
    'true if machines made of it can be scaled while they run',
    ({ template }) => template.dynamicallyScalable,
  ),
  directdownload: f.boolean('true if hosts fetch it themselves', () => false),
  deployasis: f.boolean('true if it brings its own machine description', () => false),
  hypervisor: f.string('the hypervisor it is for', ({ template }) => template.hypervisor),
  arch: f.string('the CPU architecture it is for', ({ template }) => template.architecture),
  templatetype: f.string('what kind of template it is', ({ template }) => template.type),
  templatetag: f.string('the host tag that its machines need', ({ template }) => template.tag, { adminOnly: true }),
  details: f.map('its details', ({ template }) => template.details),
  checksum: f.string('checksum of the file that was registered', ({ template }) => template.checksum),
  url: f.string('where it was fetched from', ({ template, isOwn }) => (isOwn ? template.url : null)),
  crossZones: f.boolean('true if it is in every zone', ({ template }) => template.zoneId === null),
  ostypeid: f.string('the id of its OS type', ({ template }) => template.osTypeId),
  ostypename: f.string('the name of its OS type', ({ osTypeName }) => osTypeName),
  accountid: f.string('the id of the account it belongs to', ({ template }) => template.accountId),
  account: f.string('the account it belongs to', ({ accountName }) => accountName),
  domainid: f.string('the id of the domain it belongs to', ({ template }) => template.domainId),
  domain: f.string('the domain it belongs to', ({ domainName }) => domainName),
  domainpath: f.string('path of that domain', ({ domainPath }) => shownPath(domainPath)),
  zoneid: f.string('the zone', ({ image, inZone }) => (inZone ? image?.zoneId : null)),
  zonename: f.string('the name of the zone', ({ zoneName, inZone }) => (inZone ? zoneName : null)),
  status: f.string('how far it is, or what went wrong', ({ image }) => (image ? statusText(image) : null)),
  size: f.long('the size of disks made of it, in bytes', ({ image }) => image?.virtualSizeBytes),
  physicalsize: f.long('the size of its file on secondary storage, in bytes', ({ image }) => image?.sizeBytes),
  downloaddetails: f.list('how far it is on its image stores', (row) => (row.image ? [row] : []), downloadFields),
};
export const templateView = view<TemplateShown>('TemplateResponse', 'template', fields);
export const isoView = view<TemplateShown>('TemplateResponse', 'iso', fields);

type Wanted = { readonly imageIds: readonly string[] } | { readonly templateIds: readonly string[] };
/** By ids of stored images: templates in their zones, under those ids. By ids of templates: under their own, in one of their zones. */
export async function loadTemplates(
  { rows, read }: Pick<Database, 'rows' | 'read'>,
  wanted: Wanted,
  caller: Caller,
): Promise<TemplateShown[]> {
  const [column, ids] = 'imageIds' in wanted ? ['si.id', wanted.imageIds] : ['te.id', wanted.templateIds];
  if (ids.length === 0) return [];
  const found = await rows<About & { templateId: string; imageId: string | null }>(
    `SELECT te.id AS templateId, si.id AS imageId, a.name AS accountName, d.name AS domainName, d.path AS domainPath, o.name AS osTypeName, z.name AS zoneName, st.name AS storeName
       FROM template te JOIN account a ON a.id = te.account_id JOIN domain d ON d.id = te.domain_id LEFT JOIN os_type o ON o.id = te.os_type_id
       LEFT JOIN stored_image si ON si.template_id = te.id AND si.removed_at IS NULL LEFT JOIN zone z ON z.id = si.zone_id LEFT JOIN image_store st ON st.id = si.store_id
      WHERE ${column} IN (?) ORDER BY si.id DESC`,
    [ids],
  );
  const templateById = new Map(
    (await read.findBy(templates, { id: In(found.map(({ templateId }) => templateId)) })).map((row) => [row.id as string, row]),
  );
  const imageById = new Map(
    (await read.findBy(storedImages, { id: In(found.flatMap(({ imageId }) => imageId ?? [])) })).map((row) => [row.id as string, row]),
  );
  const shown = found.flatMap(({ templateId, imageId, ...about }): TemplateShown[] => {
    const template = templateById.get(templateId);
    const image = imageId ? (imageById.get(imageId) ?? null) : null;
    if (!template) return [];
    const isOwn = isRootAdmin(caller) || template.accountId === caller.accountId;
    return [{ ...about, id: 'imageIds' in wanted && imageId ? imageId : templateId, template, image, inZone: true, isOwn }];
  });
  return [...new Map(shown.map((row) => [row.id, row])).values()];
}

export const osTypeView = view<OsTypeRow>('GuestOSResponse', 'ostype', {
  id: f.string('the id of the OS type', ({ id }) => id),
  name: f.string('the name of the OS type', ({ name }) => name),
  description: f.string('the name of the OS type, as shown', ({ name }) => name),
  oscategoryid: f.string('the id of its category', ({ categoryId }) => categoryId),
  oscategoryname: f.string('the name of its category', ({ categoryName }) => categoryName),
  isuserdefined: f.boolean('true if it was added by an administrator', ({ isUserDefined }) => isUserDefined),
  fordisplay: f.boolean('true if it is shown to users', () => true, { adminOnly: true }),
});
export const osCategoryView = view<OsCategory>('GuestOSCategoryResponse', 'oscategory', {
  id: f.string('the id of the category', ({ id }) => id),
  name: f.string('the name of the category', ({ name }) => name),
});
