/** The repository's own files, for tests that hold them against its rules. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative, resolve } from 'node:path';

export const repository = resolve(import.meta.dirname, '..', '..');
const skippedFolders = new Set(['node_modules', 'var', 'out', '.git']);

const walk = (folder: string): string[] =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return skippedFolders.has(entry.name) ? [] : walk(path);
    return entry.isFile() ? [relative(repository, path)] : [];
  });

/** Paths from the top of the repository. */
export const files: readonly string[] = walk(repository).sort();
export const read = (path: string): string => readFileSync(join(repository, path), 'utf8');

export const isCode = (path: string): boolean => /\.(ts|mjs)$/.test(path);
export const folderOf = (path: string): string => path.split('/')[0] ?? '';

/** Tests, what only tests use, and programs that are tests: bound by fewer rules than what is delivered. */
export const isTestCode = (path: string): boolean =>
  /(\.test|\.testing|\.e2e)\.ts$/.test(path) ||
  ['tests', 'bench'].includes(folderOf(path)) ||
  /(^|\/)(harness|page-driver)(-[a-z]+)*\.ts$/.test(path);

export const code = files.filter(isCode);
export const product = code.filter((path) => !isTestCode(path));

/** The text without comments; what stands in texts and templates stays, and so do line numbers. */
export const withoutComments = (text: string): string => {
  let out = '';
  let index = 0;
  const blank = (part: string): string => part.replace(/[^\n]/g, ' ');
  while (index < text.length) {
    const rest = text.slice(index, index + 2);
    const character = text[index] ?? '';
    if (rest === '//' || rest === '/*') {
      const end = rest === '//' ? text.indexOf('\n', index) : text.indexOf('*/', index) + 2;
      const stop = end < index + 2 ? text.length : end;
      out += blank(text.slice(index, stop));
      index = stop;
    } else if (character === "'" || character === '"' || character === '`') {
      let end = index + 1;
      while (end < text.length && text[end] !== character) end += text[end] === '\\' ? 2 : 1;
      out += text.slice(index, end + 1);
      index = end + 1;
    } else if (character === '/' && /[(,=:[!&|?{};+\n]\s*$/.test(out.slice(-40)) && !/^\/\s/.test(text.slice(index, index + 2))) {
      // A regular expression, which may hold quotes and slashes.
      let end = index + 1;
      for (let inClass = false; end < text.length && (inClass || text[end] !== '/') && text[end] !== '\n'; end++) {
        if (text[end] === '\\') end++;
        else if (text[end] === '[') inClass = true;
        else if (text[end] === ']') inClass = false;
      }
      out += text.slice(index, end + 1);
      index = end + 1;
    } else {
      out += character;
      index++;
    }
  }
  return out;
};

export interface Import {
  readonly from: string;
  /** Path from the top of the repository, or the name of a package. */
  readonly to: string;
  readonly isPackage: boolean;
}

const IMPORT = /(?:\b(?:import|export)\b[^'"`;]*?\bfrom\s*|\bimport\s*\(\s*|^\s*import\s+)['"]([^'"]+)['"]/gm;

const packageName = (specifier: string): string =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');

/** All imports of a file, of types too, but not of Node's own modules. */
export const importsOf = (path: string): Import[] =>
  [...withoutComments(read(path)).matchAll(IMPORT)].flatMap(([, specifier = '']): Import[] => {
    // A template of a file has names to be filled in.
    if (specifier.startsWith('node:') || specifier.includes('${')) return [];
    if (!specifier.startsWith('.')) return [{ from: path, to: packageName(specifier), isPackage: true }];
    return [{ from: path, to: normalize(join(dirname(path), specifier)), isPackage: false }];
  });

/** `path:line: words` for every place where the pattern stands in the file's code. */
export const places = (path: string, pattern: RegExp, text = withoutComments(read(path))): string[] =>
  [...text.matchAll(new RegExp(pattern, pattern.flags.includes('g') ? pattern.flags : `${pattern.flags}g`))].map(
    ({ index, 0: found }) => `${path}:${text.slice(0, index).split('\n').length}: ${found.trim()}`,
  );
