/** The operating systems that a template can be said to hold, by family. New ones are added at the next start. */
import { createHash } from 'node:crypto';
import type { Id } from '../../protocol/schema.ts';
import type { Services } from '../core/services.ts';
import type { OsTypeRow } from './entities.ts';

const both = (...names: readonly string[]): string[] => names.flatMap((name) => [`${name} (32-bit)`, `${name} (64-bit)`]);
const only64 = (...names: readonly string[]): string[] => names.map((name) => `${name} (64-bit)`);
const upTo = (name: string, first: number, last: number): string[] =>
  Array.from({ length: last - first + 1 }, (_, index) => `${name} ${first + index}`);

const CATALOGUE: Readonly<Record<string, readonly string[]>> = {
  AlmaLinux: ['AlmaLinux 8', 'AlmaLinux 9', 'AlmaLinux 10'],
  CentOS: [
    ...both('CentOS 5.5', 'CentOS 6.0', 'CentOS 6.10'),
    'CentOS 7',
    'CentOS 8',
    'CentOS Stream 8',
    'CentOS Stream 9',
    'CentOS Stream 10',
  ],
  Debian: [
    ...both(
      'Debian GNU/Linux 7',
      'Debian GNU/Linux 8',
      'Debian GNU/Linux 9',
      'Debian GNU/Linux 10',
      'Debian GNU/Linux 11',
      'Debian GNU/Linux 12',
    ),
    ...only64('Debian GNU/Linux 13'),
  ],
  Fedora: upTo('Fedora Linux', 38, 43),
  FreeBSD: [...both('FreeBSD 10', 'FreeBSD 11', 'FreeBSD 12', 'FreeBSD 13'), ...only64('FreeBSD 14', 'FreeBSD 15')],
  SUSE: [
    ...both('SUSE Linux Enterprise Server 11'),
    ...only64('SUSE Linux Enterprise Server 12', 'SUSE Linux Enterprise Server 15', 'SUSE Linux Enterprise Server 16'),
    'openSUSE Leap 15',
    'openSUSE Leap 16',
    'openSUSE Tumbleweed',
  ],
  Oracle: ['Oracle Linux 7', 'Oracle Linux 8', 'Oracle Linux 9', 'Oracle Linux 10'],
  RedHat: [...both('Red Hat Enterprise Linux 5.0', 'Red Hat Enterprise Linux 6.0'), ...upTo('Red Hat Enterprise Linux', 7, 10)],
  'Rocky Linux': ['Rocky Linux 8', 'Rocky Linux 9', 'Rocky Linux 10'],
  Ubuntu: [
    ...both('Ubuntu 12.04', 'Ubuntu 14.04'),
    'Ubuntu 16.04 LTS',
    'Ubuntu 18.04 LTS',
    'Ubuntu 20.04 LTS',
    'Ubuntu 22.04 LTS',
    'Ubuntu 24.04 LTS',
    'Ubuntu 25.10',
  ],
  Unix: [
    'Alpine Linux',
    'Arch Linux (64-bit)',
    'NetBSD (64-bit)',
    'OpenBSD (64-bit)',
    'DragonFly BSD (64-bit)',
    'Solaris 11 (64-bit)',
    'illumos (64-bit)',
    'Other Linux (32-bit)',
    'Other Linux (64-bit)',
  ],
  Windows: [
    ...both('Windows 7', 'Windows 8', 'Windows 10'),
    ...only64('Windows 11'),
    ...both('Windows Server 2008'),
    ...only64(
      'Windows Server 2008 R2',
      'Windows Server 2012',
      'Windows Server 2012 R2',
      'Windows Server 2016',
      'Windows Server 2019',
      'Windows Server 2022',
      'Windows Server 2025',
    ),
  ],
  Other: [...both('Other'), 'Other PV (32-bit)', 'Other PV (64-bit)', 'None'],
};

/** The same on every installation and at every start, made of the name: a UUID of version 8. */
export function nameId<K extends string>(kind: K, name: string): Id<K> {
  const bytes = createHash('sha256').update(`${kind}:${name}`).digest().subarray(0, 16);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x80;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}` as Id<K>;
}

export const catalogue: readonly OsTypeRow[] = Object.entries(CATALOGUE).flatMap(([categoryName, names]) =>
  names.map((name) => ({
    id: nameId('osType', name),
    categoryId: nameId('osCategory', categoryName),
    categoryName,
    name,
    isUserDefined: false,
  })),
);

/** Of what was registered without one: clients take it for granted that every template has an OS type. */
export const unknownOsType = nameId('osType', 'Other (64-bit)');

export async function seedOsTypes({ db }: Pick<Services, 'db'>): Promise<void> {
  const values = catalogue.map(({ id, categoryId, categoryName, name, isUserDefined }) => [
    id,
    categoryId,
    categoryName,
    name,
    isUserDefined,
  ]);
  await db.rows(
    `INSERT IGNORE INTO os_type (id, category_id, category_name, name, is_user_defined) VALUES ${values.map(() => '(?)').join(', ')}`,
    values,
  );
}
