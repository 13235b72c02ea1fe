/** Settings as the API shows them, and whose a caller may see and change. */
import { CloudError } from '../../protocol/errors.ts';
import type { Caller } from '../core/context.ts';
import { isRootAdmin } from '../core/context.ts';
import { domainKind } from '../core/list.ts';
import type { AccountRow } from '../core/owners.ts';
import { accounts } from '../core/owners.ts';
import { entityKind, isBelow, p } from '../core/params.ts';
import type { AnySetting, Settings } from '../core/settings.ts';
import type { SettingScope } from '../core/tables.ts';
import { f, view } from '../core/view.ts';

interface Placed {
  readonly id: string;
  readonly removedAt: Date | null;
}
/** Things of the infrastructure stand above this area, so their tables are read by name. */
const placeKind = (noun: string, table: 'zone' | 'cluster' | 'storage_pool' | 'image_store') =>
  entityKind<Placed>({
    noun,
    find: async (tx, id) => (await tx.query(`SELECT id, removed_at AS removedAt FROM ${table} WHERE id = ?`, [id]))[0] ?? null,
    removed: ({ removedAt }) => removedAt !== null,
    owner: () => null,
  });
const accountKind = entityKind<AccountRow>({
  noun: 'account',
  find: (tx, id) => tx.findOneBy(accounts, { id: id as AccountRow['id'] }),
  removed: ({ removedAt }) => removedAt !== null,
  owner: () => null,
  shared: ({ type, domainId }, _use, context) =>
    context.caller.accountType === 'domainAdmin' && type !== 'admin' && isBelow(context, domainId),
});

export const placeParams = {
  zoneid: p.entity('the value for this zone', placeKind('zone', 'zone'), 'use'),
  clusterid: p.entity('the value for this cluster', placeKind('cluster', 'cluster'), 'use'),
  storageid: p.entity('the value for this primary storage', placeKind('storage pool', 'storage_pool'), 'use'),
  accountid: p.entity('the value for this account', accountKind, 'use'),
  domainid: p.entity('the value for this domain', domainKind, 'use'),
};
export const imageStoreParam = p.entity('the value for this secondary storage', placeKind('image store', 'image_store'), 'use');

export interface SettingPlace {
  readonly scope: SettingScope;
  readonly scopeId: string;
}
type Named = { readonly id: string } | undefined;
/** The one place that a request names, or the whole cloud. Who is no root admin must name an account or domain of his. */
export function placeOf(
  caller: Caller,
  params: { zoneid?: Named; clusterid?: Named; storageid?: Named; accountid?: Named; domainid?: Named; imagestore?: Named },
): SettingPlace {
  const named: [SettingScope, Named][] = [
    ['zone', params.zoneid],
    ['cluster', params.clusterid],
    ['storagepool', params.storageid],
    ['account', params.accountid],
    ['domain', params.domainid],
    ['imagestore', params.imagestore],
  ];
  const places = named.flatMap(([scope, thing]) => (thing ? [{ scope, scopeId: thing.id }] : []));
  if (places.length > 1) throw new CloudError('InvalidParameter', 'name only one zone, cluster, storage, account or domain');
  const [place] = places;
  if (place) return place;
  if (!isRootAdmin(caller)) return { scope: 'domain', scopeId: caller.domainId };
  return { scope: 'global', scopeId: '' };
}

export interface SettingShown {
  readonly definition: AnySetting;
  readonly value: string;
}
export const shownSetting = (settings: Settings, definition: AnySetting, { scope, scopeId }: SettingPlace): SettingShown => ({
  definition,
  value: settings.at(definition.name, scope, scopeId) ?? settings.at(definition.name, 'global', '') ?? definition.defaultValue,
});

export function findSetting(settings: Settings, name: string, place: SettingPlace): AnySetting {
  const definition = settings.all.find((each) => each.name === name);
  if (!definition) throw new CloudError('InvalidParameter', `Config parameter with name ${name.slice(0, 100)} doesn't exist`);
  if (!definition.scopes.includes(place.scope))
    throw new CloudError(
      'InvalidParameter',
      `the setting ${name} has no value of its own for ${place.scope === 'global' ? 'the whole cloud' : `a ${place.scope}`}`,
    );
  return definition;
}

const scopeNames: Readonly<Record<SettingScope, string>> = {
  global: 'Global',
  zone: 'Zone',
  cluster: 'Cluster',
  storagepool: 'StoragePool',
  account: 'Account',
  domain: 'Domain',
  imagestore: 'ImageStore',
};
/** The narrow scopes say more than that there is a value for the whole cloud too. */
const scopesShown = ({ scopes }: AnySetting): string => {
  const narrow = scopes.filter((scope) => scope !== 'global');
  return (narrow.length === 0 ? (['global'] as const) : narrow).map((scope) => scopeNames[scope]).join(',');
};
const words = (name: string): string => {
  const text = name.replaceAll('.', ' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
};

export const configurationView = view<SettingShown>('ConfigurationResponse', 'configuration', {
  category: f.string('the category of the setting', ({ definition }) => definition.category),
  name: f.string('the name of the setting', ({ definition }) => definition.name),
  displaytext: f.string('its name in words', ({ definition }) => words(definition.name)),
  value: f.string('its value', ({ definition, value }) => (definition.secret ? '***' : value)),
  defaultvalue: f.string('its value unless set', ({ definition }) => (definition.secret ? null : definition.defaultValue)),
  description: f.string('what it is for', ({ definition }) => definition.about),
  type: f.string('the type of its value', ({ definition }) => definition.type),
  scope: f.string('what may have a value of its own', ({ definition }) => scopesShown(definition)),
  isdynamic: f.boolean('true if a change counts without a restart', () => true),
});
