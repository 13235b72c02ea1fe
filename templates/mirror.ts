/** Where Debian packages come from: the machine's own mirrors, with another release's name. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CloudError } from '../protocol/errors.ts';
import { run } from './run.ts';

export interface AptSource {
  readonly uri: string;
  readonly suite: string;
}

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

const stanzas = (text: string): string[] =>
  text
    .split('\n')
    .filter((line) => !line.startsWith('#'))
    .join('\n')
    .split(/\n\s*\n/);

/** Reads the newer format, `*.sources`. */
export function parseDeb822(text: string): AptSource[] {
  return stanzas(text).flatMap((stanza) => {
    const fields = new Map<string, string>();
    let field = '';
    for (const line of stanza.split('\n')) {
      const start = /^([A-Za-z-]+):\s*(.*)$/.exec(line);
      if (start) {
        field = (start[1] ?? '').toLowerCase();
        fields.set(field, start[2] ?? '');
      } else if (/^\s/.test(line) && field !== '') fields.set(field, `${fields.get(field) ?? ''} ${line.trim()}`);
    }
    const words = (name: string): string[] => (fields.get(name) ?? '').split(/\s+/).filter((word) => word !== '');
    const wanted = words('types').includes('deb') && words('components').includes('main') && fields.get('enabled')?.trim() !== 'no';
    return wanted ? words('uris').flatMap((uri) => words('suites').map((suite) => ({ uri, suite }))) : [];
  });
}

/** Reads the older format, `*.list`. */
export function parseOneLine(text: string): AptSource[] {
  return text.split('\n').flatMap((line) => {
    const match = /^\s*deb\s+(?:\[[^\]]*\]\s*)?(\S+)\s+(\S+)\s+([^#]*)/.exec(line);
    const [, uri, suite, components] = match ?? [];
    if (uri === undefined || suite === undefined || !components?.split(/\s+/).includes('main')) return [];
    return [{ uri, suite }];
  });
}

/** The lines of a source list for `release`, made of the mirrors that this machine uses for its own release. */
export function sourceLines(sources: readonly AptSource[], ownRelease: string, release: string): string[] {
  const mirrorOf = (suffix: string): string | undefined =>
    sources.find(({ suite }) => suite === `${ownRelease}${suffix}` || suite === `stable${suffix}`)?.uri;
  const main = mirrorOf('');
  if (main === undefined) {
    throw new CloudError('Unavailable', `no Debian mirror for ${ownRelease} is configured on this machine (see /etc/apt/sources.list.d)`);
  }
  return ['', '-updates', '-security'].flatMap((suffix) => {
    const uri = mirrorOf(suffix);
    return uri === undefined ? [] : [`deb [signed-by=${KEYRING}] ${uri} ${release}${suffix} main`];
  });
}

async function configuredSources(): Promise<AptSource[]> {
  const read = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '');
  const folder = '/etc/apt/sources.list.d';
  const names = (await readdir(folder).catch(() => [])).sort();
  const parts = await Promise.all(
    names.map(async (name) => {
      if (name.endsWith('.sources')) return parseDeb822(await read(join(folder, name)));
      return name.endsWith('.list') ? parseOneLine(await read(join(folder, name))) : [];
    }),
  );
  return [...parts.flat(), ...parseOneLine(await read('/etc/apt/sources.list'))];
}

export const debianSourceLines = async (release: string): Promise<string[]> => {
  const codename = /^VERSION_CODENAME=(\S+)$/m.exec(await readFile('/etc/os-release', 'utf8'))?.[1];
  if (codename === undefined) throw new CloudError('Unavailable', 'templates are built on Debian; /etc/os-release names no release');
  return sourceLines(await configuredSources(), codename, release);
};

/** The machine's own way to its mirror: a proxy, or a mirror frozen in time, holds for the build too. */
export async function aptOptions(): Promise<string[]> {
  const dump = await run('apt-config', ['dump'], { timeoutSeconds: 30 });
  return dump.split('\n').filter((line) => /^Acquire::(https?::Proxy(::[^ ]+)?|Check-Valid-Until|Check-Date) "[^"]+";$/.test(line));
}
