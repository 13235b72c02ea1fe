/** Whose offerings are: everybody's, or those of the accounts in some domains and below. */

import { CloudError } from '../../protocol/errors.ts';
import type { Id } from '../../protocol/schema.ts';
import type { Caller } from '../core/context.ts';
import type { Database, Tx } from '../core/db.ts';
import type { Filter } from '../core/list.ts';
import type { DomainRow } from '../core/owners.ts';
import { entityKind, type Use } from '../core/params.ts';
import {
  type DiskOfferingRow,
  diskOfferings,
  type NetworkOfferingRow,
  networkOfferings,
  offeringDomains,
  type ServiceOfferingRow,
  serviceOfferings,
} from './entities.ts';

type Reader = Pick<Caller, 'accountType' | 'domainPath'>;

/** `paths` are those of the offering's domains; none is everybody's. Who is no root admin changes only what is his domains' alone. */
export function mayUse(caller: Reader, paths: readonly string[], use: Use): boolean {
  if (caller.accountType === 'admin') return true;
  const below = (path: string) => caller.accountType === 'domainAdmin' && path.startsWith(caller.domainPath);
  if (use === 'operate') return paths.length > 0 && paths.every(below);
  return paths.length === 0 || paths.some((path) => caller.domainPath.startsWith(path) || below(path));
}

/** The same rule for a list; the offerings have the alias `t`. */
export function visibleTo(caller: Reader): Filter {
  if (caller.accountType === 'admin') return null;
  const below = caller.accountType === 'domainAdmin' ? 'OR LEFT(d.path, CHAR_LENGTH(?)) = ?' : '';
  return {
    sql: `(NOT EXISTS (SELECT 1 FROM offering_domain o WHERE o.offering_id = t.id) OR EXISTS (SELECT 1 FROM offering_domain o JOIN domain d ON d.id = o.domain_id
            WHERE o.offering_id = t.id AND (LEFT(?, CHAR_LENGTH(d.path)) = d.path ${below})))`,
    values: [caller.domainPath, ...(below ? [caller.domainPath, caller.domainPath] : [])],
  };
}

export interface OfferingDomain {
  readonly offeringId: string;
  readonly id: string;
  readonly name: string;
  readonly path: string;
}
export const domainsOf = ({ rows }: Pick<Database, 'rows'>, offeringIds: readonly string[]): Promise<OfferingDomain[]> =>
  rows<OfferingDomain>(
    'SELECT o.offering_id AS offeringId, d.id, d.name, d.path FROM offering_domain o JOIN domain d ON d.id = o.domain_id WHERE o.offering_id IN (?) ORDER BY d.path',
    [offeringIds],
  );

/** The domains of a new offering: those named; for a domain admin at least his own. */
export function domainsFor(caller: Pick<Caller, 'accountType' | 'domainId'>, named: readonly DomainRow[] | undefined): Id<'domain'>[] {
  if (named && named.length > 0) return [...new Set(named.map(({ id }) => id))];
  return caller.accountType === 'admin' ? [] : [caller.domainId];
}
export async function limitTo(tx: Tx, offeringId: string, domainIds: readonly Id<'domain'>[]): Promise<void> {
  if (domainIds.length > 0)
    await tx.insert(
      offeringDomains,
      domainIds.map((domainId) => ({ offeringId, domainId })),
    );
}

const mayUseOf = async (db: Database, caller: Caller, id: string, use: Use): Promise<boolean> =>
  mayUse(
    caller,
    (await domainsOf(db, [id])).map(({ path }) => path),
    use,
  );

export const serviceOfferingKind = entityKind<ServiceOfferingRow>({
  noun: 'service offering',
  find: (tx, id) => tx.findOneBy(serviceOfferings, { id: id as Id<'serviceOffering'> }),
  removed: ({ removedAt }) => removedAt !== null,
  owner: () => null,
  shared: ({ id, system }, use, { db, caller }) => !system && mayUseOf(db, caller, id, use),
});
export const diskOfferingKind = entityKind<DiskOfferingRow>({
  noun: 'disk offering',
  find: (tx, id) => tx.findOneBy(diskOfferings, { id: id as Id<'diskOffering'> }),
  removed: ({ removedAt }) => removedAt !== null,
  owner: () => null,
  shared: ({ id, displayOffering }, use, { db, caller }) => displayOffering && mayUseOf(db, caller, id, use),
});
export const networkOfferingKind = entityKind<NetworkOfferingRow>({
  noun: 'network offering',
  find: (tx, id) => tx.findOneBy(networkOfferings, { id: id as Id<'networkOffering'> }),
  removed: ({ removedAt }) => removedAt !== null,
  owner: () => null,
  shared: (_row, use) => use !== 'operate',
});

export const checkName = (name: string | undefined, noun: string): void => {
  if (name !== undefined && name.trim() === '') throw new CloudError('InvalidParameter', `the name of the ${noun} is empty`);
};
