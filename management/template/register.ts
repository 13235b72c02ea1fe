/** Registering a template or ISO: its rows, one stored image per zone, and the jobs that bring them. */
import { IsNull } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import { newId } from '../../protocol/ids.ts';
import type { Id } from '../../protocol/schema.ts';
import { ownerOf } from '../account/index.ts';
import type { Page } from '../core/command.ts';
import { type Context, isRootAdmin } from '../core/context.ts';
import type { Tx } from '../core/db.ts';
import type { Started } from '../core/jobs.ts';
import { domainKind } from '../core/list.ts';
import type { DomainRow } from '../core/owners.ts';
import { type Param, p } from '../core/params.ts';
import { type ZoneRow, zoneKind, zones } from '../infra/index.ts';
import { imageStores, type OsTypeRow, storedImages, type TemplateRow, templates } from './entities.ts';
import { osTypeKind } from './kinds.ts';
import { unknownOsType } from './os-types.ts';
import { checkChecksum, checkUrl, chooseStore } from './rules.ts';
import { downloadTemplateSaga } from './sagas/download-template.ts';
import { publicByUsers } from './settings.ts';
import { loadTemplates, type TemplateShown } from './views.ts';

export const architectures = ['x86_64', 'aarch64'] as const;

/** `-1` stands for every zone. */
const orEvery = <T>(param: Param<T, false>): Param<T | 'every', false> => ({
  ...param,
  read: (raw, place) => (raw.text?.trim() === '-1' ? 'every' : param.read(raw, place)),
});
export const oneZone = orEvery(p.entity('the zone it will be in; -1 for every zone', zoneKind, 'use'));
export const someZones = orEvery(p.entities('the zones it will be in; -1 for every zone', zoneKind, 'use'));

export const registerParams = {
  displaytext: p.string('the display text; the name when left out', { max: 4096 }),
  ostypeid: p.entity('the OS type of what is in it; Other (64-bit) when left out', osTypeKind, 'use'),
  checksum: p.string('checksum of the file: hexadecimal, or {ALGORITHM} and hexadecimal'),
  ispublic: p.boolean('true if every account may use it'),
  isfeatured: p.boolean('true if it is a featured one; only root admins can say so'),
  arch: p.word('the CPU architecture it is for', architectures),
  account: p.string('the account that will own it; goes together with domainid'),
  domainid: p.entity('the domain of that account', domainKind, 'use'),
};

export interface NewTemplate
  extends Pick<
    TemplateRow,
    'kind' | 'format' | 'hypervisor' | 'bootable' | 'passwordEnabled' | 'sshKeyEnabled' | 'requiresHvm' | 'tag' | 'details' | 'name'
  > {
  readonly url: string;
  readonly zones: readonly ZoneRow[] | 'every' | undefined;
  readonly displaytext?: string | undefined;
  readonly ostypeid?: OsTypeRow | undefined;
  readonly checksum?: string | undefined;
  readonly ispublic?: boolean | undefined;
  readonly isfeatured?: boolean | undefined;
  readonly arch?: TemplateRow['architecture'] | undefined;
  readonly account?: string | undefined;
  readonly domainid?: DomainRow | undefined;
}

export async function register(context: Context, wanted: NewTemplate): Promise<Page<TemplateShown> & { readonly id: string }> {
  const { db, jobs, caller, requestId } = context;
  const name = wanted.name.trim();
  if (name === '') throw new CloudError('InvalidParameter', 'the name is empty');
  const url = checkUrl(wanted.url);
  const checksum = wanted.checksum === undefined || wanted.checksum === '' ? null : checkChecksum(wanted.checksum);
  const owner = await ownerOf(context, wanted);
  if (wanted.ispublic) checkMayPublish(context, owner);
  const every = wanted.zones === 'every' || wanted.zones === undefined;
  if (every && !isRootAdmin(caller))
    throw new CloudError('InvalidParameter', 'name the zone by zoneid; only root admins can register for every zone');
  const given = wanted.zones === 'every' || wanted.zones === undefined ? [] : wanted.zones;

  const { id, started } = await db.transact(async (tx) => {
    const wantedZones = every
      ? await tx.find(zones, { where: { removedAt: IsNull() }, order: { id: 'ASC' } })
      : [...new Map(given.map((zone) => [zone.id, zone])).values()];
    const row: TemplateRow = {
      id: newId('template'),
      accountId: owner.accountId,
      domainId: owner.domainId,
      zoneId: every ? null : (wantedZones[0]?.id ?? null),
      name,
      displayText: wanted.displaytext ?? name,
      kind: wanted.kind,
      type: 'USER',
      format: wanted.format,
      hypervisor: wanted.hypervisor,
      architecture: wanted.arch ?? 'x86_64',
      osTypeId: wanted.ostypeid?.id ?? unknownOsType,
      url,
      checksum,
      bootable: wanted.bootable,
      isPublic: wanted.ispublic ?? false,
      isFeatured: isRootAdmin(caller) && (wanted.isfeatured ?? false),
      isExtractable: false,
      passwordEnabled: wanted.passwordEnabled,
      sshKeyEnabled: wanted.sshKeyEnabled,
      dynamicallyScalable: false,
      requiresHvm: wanted.requiresHvm,
      tag: wanted.tag,
      details: wanted.details,
      state: 'Active',
      createdAt: new Date(),
      removedAt: null,
    };
    const jobsOfZones: Started[] = [];
    const without: string[] = [];
    await tx.insert(templates, row);
    for (const zone of wantedZones) {
      const image = await addStoredImage(tx, row.id, zone.id);
      if (image) jobsOfZones.push(await jobs.add(tx, downloadTemplateSaga, { storedImageId: image, round: 0 }, { requestId }));
      else without.push(zone.name);
    }
    if (jobsOfZones.length === 0 || (!every && without.length > 0)) {
      throw new CloudError(
        'InvalidParameter',
        without.length === 0
          ? 'there is no zone yet; an administrator must add one first'
          : `the zone ${without.join(', ')} has no writable secondary storage; an administrator must add it with addImageStore first`,
      );
    }
    return { id: row.id, started: jobsOfZones };
  });
  for (const job of started) jobs.ring(job);
  const images = await db.read.find(storedImages, { where: { templateId: id, removedAt: IsNull() }, order: { id: 'ASC' } });
  const rows = await loadTemplates(db, { imageIds: images.map((image) => image.id) }, caller);
  return { count: rows.length, rows: rows.sort((a, b) => (a.id < b.id ? -1 : 1)), id };
}

/** The template's place on a store of the zone, with nothing in it yet; null when the zone has no writable store. */
export async function addStoredImage(tx: Tx, templateId: Id<'template'>, zoneId: Id<'zone'>): Promise<Id<'storedImage'> | null> {
  // The lock keeps the store from being deleted at the same time.
  const stores = await tx.find(imageStores, { where: { zoneId, removedAt: IsNull() }, lock: { mode: 'pessimistic_write' } });
  const store = chooseStore(stores);
  if (!store) return null;
  const now = new Date();
  const id = newId('storedImage');
  await tx.insert(storedImages, {
    id,
    templateId,
    zoneId,
    storeId: store.id,
    state: 'NOT_DOWNLOADED',
    generation: 0,
    percent: 0,
    error: null,
    sizeBytes: null,
    virtualSizeBytes: null,
    sha256: null,
    createdAt: now,
    updatedAt: now,
    removedAt: null,
  });
  return id;
}

export function checkMayPublish({ caller, settings }: Context, owner: { accountId: string; domainId: string }): void {
  if (isRootAdmin(caller) || settings.get(publicByUsers, { account: owner.accountId, domain: owner.domainId })) return;
  throw new CloudError('Forbidden', 'only root admins can make templates and ISOs public here');
}
