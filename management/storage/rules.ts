/** Rules on storage pools and image stores, without a database. */
import { CloudError } from '../../protocol/errors.ts';
import { s } from '../../protocol/schema.ts';
import type { StoragePoolRow } from './entities.ts';

const SCHEMES = 'nfs://server/path or SharedMountPoint://localhost/path';
const HostName = s.hostName();
const Path = s.string({ min: 2, max: 1000, match: /^\/[A-Za-z0-9_./-]+$/ });

interface Place {
  readonly scheme: string;
  readonly server: string;
  readonly path: string;
}

/** Server and path of a URL that names storage. */
function readPlace(url: string): Place {
  const trimmed = url.trim();
  if (trimmed.length > 1000 || !URL.canParse(trimmed))
    throw new CloudError('InvalidParameter', `the URL of the storage is not one; give it as ${SCHEMES}`);
  const { protocol, hostname, pathname, username, password, search, hash, port } = new URL(trimmed);
  if (username !== '' || password !== '')
    throw new CloudError('InvalidParameter', 'the URL of the storage must not hold a user name or password');
  if (search !== '' || hash !== '' || port !== '')
    throw new CloudError('InvalidParameter', 'the URL of the storage has a server and a path, and neither port nor query');
  // The parser of URLs has resolved dots by now, to a place that nobody meant.
  if (/\/(\.|%2e){1,2}(\/|$)/i.test(trimmed))
    throw new CloudError('InvalidParameter', 'the path of the storage must be plain, without . and ..');
  // One slash at its end, or two in its middle, name the same directory.
  const path = pathname.replace(/\/{2,}/g, '/').replace(/(?<=.)\/$/, '');
  if (!Path.safeParse(path).success)
    throw new CloudError(
      'InvalidParameter',
      `the path ${path.slice(0, 100)} must be of letters, digits, dots, dashes and underscores, and below /`,
    );
  return { scheme: protocol.slice(0, -1).toLowerCase(), server: hostname, path };
}

function checkServer(server: string): string {
  if (server === '' || !HostName.safeParse(server).success)
    throw new CloudError('InvalidParameter', `the URL of the storage must name its server, as in nfs://server/path`);
  return server;
}

/** What kind of pool a URL means, and where it is. */
export function readPoolUrl(url: string): Pick<StoragePoolRow, 'type' | 'server' | 'path'> {
  const { scheme, server, path } = readPlace(url);
  switch (scheme) {
    case 'nfs':
      return { type: 'NetworkFilesystem', server: checkServer(server), path };
    case 'sharedmountpoint':
      return { type: 'SharedMountPoint', server: null, path };
    case 'file':
    case 'filesystem':
      // Each host would make a directory of its own there, and machines could not move.
      throw new CloudError(
        'InvalidParameter',
        'a directory of one host alone cannot be the storage of a cluster or zone; mount one at the same path on all hosts and give SharedMountPoint://localhost/path',
      );
    default:
      throw new CloudError('InvalidParameter', `storage of type ${scheme.slice(0, 20)} is not supported; give ${SCHEMES}`);
  }
}

export const imageStoreProviders = ['NFS', 'Directory'] as const;

export function readStoreUrl(provider: (typeof imageStoreProviders)[number], url: string): { server: string | null; path: string } {
  const { scheme, server, path } = readPlace(url);
  if (provider === 'NFS') {
    if (scheme !== 'nfs')
      throw new CloudError('InvalidParameter', 'secondary storage of the provider NFS has a URL such as nfs://server/path');
    return { server: checkServer(server), path };
  }
  if (scheme !== 'file' || server !== '')
    throw new CloudError('InvalidParameter', 'secondary storage of the provider Directory has a URL such as file:///path');
  return { server: null, path };
}

const NFS_VERSION = 'nfs.version';
const nfsVersions = ['3', '4', '4.1', '4.2'];

/** Details of an image store, from the pairs of the request. */
export function readStoreDetails(pairs: readonly Readonly<Record<string, string>>[]): Record<string, string> {
  const details: Record<string, string> = {};
  for (const { key = '', value = '' } of pairs) {
    if (key !== NFS_VERSION)
      throw new CloudError('InvalidParameter', `the detail '${key.slice(0, 60)}' is not known; there is ${NFS_VERSION}`);
    if (!nfsVersions.includes(value))
      throw new CloudError('InvalidParameter', `${NFS_VERSION} cannot be '${value.slice(0, 20)}'; it is one of ${nfsVersions.join(', ')}`);
    details[key] = value;
  }
  return details;
}

interface Reaching {
  readonly zoneId: string;
  readonly clusterId: string;
  readonly hypervisor: string;
}
/** Does the pool's scope hold this host? */
export const reaches = (pool: Pick<StoragePoolRow, 'zoneId' | 'clusterId' | 'hypervisor'>, host: Reaching): boolean =>
  pool.zoneId === host.zoneId && (pool.clusterId === null ? pool.hypervisor === host.hypervisor : pool.clusterId === host.clusterId);
/** The same as a condition of SQL on `p` and `h`. */
export const REACHES = 'p.zone_id = h.zone_id AND ((p.cluster_id IS NULL AND p.hypervisor = h.hypervisor) OR p.cluster_id = h.cluster_id)';

/** Tags as a list without doubles: `ssd, fast ` is ssd,fast; null when there is none. */
export function readTags(tags: readonly string[]): string | null {
  const plain = [
    ...new Set(
      tags
        .flatMap((tag) => tag.split(','))
        .map((tag) => tag.trim())
        .filter((tag) => tag !== ''),
    ),
  ];
  const text = plain.join(',');
  if (text.length > 255) throw new CloudError('InvalidParameter', 'the tags are longer than 255 characters');
  return text === '' ? null : text;
}

/** Has the pool every tag that the offering asks for? */
export function hasTags(pool: string | null, wanted: string | null): boolean {
  const there = new Set((pool ?? '').split(',').map((tag) => tag.trim()));
  return (readTags([wanted ?? '']) ?? '').split(',').every((tag) => tag === '' || there.has(tag));
}
