import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

export interface Mount {
  readonly source: string;
  readonly target: string;
  readonly type: 'bind' | 'tmpfs' | 'devpts';
  readonly options?: readonly string[];
}

/** Blanks and the like stand as three octal digits in a file of mounts. */
const escapeField = (field: string): string =>
  field.replace(/[\s\\#]/g, (character) => `\\${(character.codePointAt(0) ?? 0).toString(8).padStart(3, '0')}`);

/** The text of a file for `mount --all --fstab`, which makes the mounts in the order of its lines. */
export const encodeMounts = (mounts: readonly Mount[]): string =>
  mounts
    .map(({ source, target, type, options = [] }) => {
      const all = type === 'bind' ? ['bind', ...options] : options;
      return `${[source, target, type === 'bind' ? 'none' : type, all.join(',') || 'defaults'].map(escapeField).join(' ')} 0 0\n`;
    })
    .join('');

export interface FolderContents {
  readonly folders: string[];
  readonly files: string[];
  readonly links: string[];
}

/** What stands in a folder, by what a copy made of mounts needs for it. Sockets and devices are left out. */
export const contentsOf = async (folder: string): Promise<FolderContents> => {
  const contents: FolderContents = { folders: [], files: [], links: [] };
  for (const name of (await readdir(folder).catch(() => [])).sort()) {
    const found = await lstat(join(folder, name)).catch(() => null);
    if (found?.isDirectory()) contents.folders.push(name);
    else if (found?.isFile()) contents.files.push(name);
    else if (found?.isSymbolicLink()) contents.links.push(name);
  }
  return contents;
};
