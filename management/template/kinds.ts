/** Things of this area that parameters can name. */
import type { Id } from '../../protocol/schema.ts';
import type { Tx } from '../core/db.ts';
import { type EntityKind, entityKind } from '../core/params.ts';
import { type ImageStoreRow, imageStores, type OsTypeRow, osTypes, type TemplateRow, templateGrants, templates } from './entities.ts';

const imageKindOf = (noun: string, kind: TemplateRow['kind'] | null): EntityKind<TemplateRow> =>
  entityKind<TemplateRow>({
    noun,
    find: (tx, id) => tx.findOneBy(templates, { id: id as Id<'template'>, ...(kind ? { kind } : {}) }),
    removed: ({ removedAt }) => removedAt !== null,
    owner: (row) => row,
    shared: async ({ id, isPublic }, use, { caller, db }) =>
      use !== 'operate' && (isPublic || (await db.read.existsBy(templateGrants, { templateId: id, accountId: caller.accountId }))),
  });

/** A template or an ISO: machines are made of either. */
export const templateKind = imageKindOf('template', null);
export const diskTemplateKind = imageKindOf('template', 'template');
export const isoKind = imageKindOf('ISO', 'iso');

export const osTypeKind = entityKind<OsTypeRow>({
  noun: 'OS type',
  find: (tx, id) => tx.findOneBy(osTypes, { id: id as Id<'osType'> }),
  removed: () => false,
  owner: () => null,
  shared: () => true,
});

export interface OsCategory {
  readonly id: string;
  readonly name: string;
}
export const osCategoryKind = entityKind<OsCategory>({
  noun: 'OS category',
  find: async (tx: Tx, id) => {
    const [member] = await tx.find(osTypes, { where: { categoryId: id }, take: 1 });
    return member ? { id: member.categoryId, name: member.categoryName } : null;
  },
  removed: () => false,
  owner: () => null,
  shared: () => true,
});

export const imageStoreKind = entityKind<ImageStoreRow>({
  noun: 'image store',
  find: (tx, id) => tx.findOneBy(imageStores, { id: id as Id<'imageStore'> }),
  removed: ({ removedAt }) => removedAt !== null,
  owner: () => null,
});
