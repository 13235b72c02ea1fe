/** `tsx tools/migration.ts <name>`: writes the next migration from what the tables have and the migrations so far do not make. */
import { execFile } from 'node:child_process';
import { readdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { missingStatements } from './tables.ts';

const folder = resolve(import.meta.dirname, '..', 'management', 'migrations');
const kebab = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/;
const camel = (name: string): string => name.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
const pascal = (name: string): string => camel(`-${name}`);

/** TypeORM orders migrations by the last 13 digits of their names; ours are numbers in a row instead of times. */
const ordinal = (number: number): string => String(1_000_000_000_000 + number);

const list = (statements: readonly string[]): string => statements.map((each) => `  ${JSON.stringify(each)},`).join('\n');

const source = (
  number: number,
  name: string,
  up: readonly string[],
  down: readonly string[],
): string => `import type { MigrationInterface, QueryRunner } from 'typeorm';

const up = [
${list(up)}
];
const down = [
${list(down)}
];

export class ${pascal(name)} implements MigrationInterface {
  readonly name = '${camel(name)}${ordinal(number)}';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of up) await runner.query(statement);
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const statement of down) await runner.query(statement);
  }
}
`;

const index = (files: readonly string[]): string => {
  const names = files.map((file) => ({ file, name: pascal(file.replace(/^\d+-|\.ts$/g, '')) }));
  return `/** Append only: each release's change of the tables. */
${names.map(({ file, name }) => `import { ${name} } from './${file}';`).join('\n')}

export const migrations: readonly (new () => object)[] = [${names.map(({ name }) => name).join(', ')}];
`;
};

const migrationFiles = async (): Promise<string[]> => (await readdir(folder)).filter((file) => /^\d{4}-.*\.ts$/.test(file)).sort();

const fail = (words: string): never => {
  console.error(words);
  process.exit(1);
};

const name = process.argv[2] ?? '';
if (!kebab.test(name)) fail('usage: tsx tools/migration.ts <name-in-kebab-case>');
const { up, down } = await missingStatements();
if (up.length === 0) fail('the migrations already make all tables; nothing to write');
const files = await migrationFiles();
if (files.some((file) => file.replace(/^\d+-/, '') === `${name}.ts`)) fail(`a migration named ${name} exists already`);
const number = Number(files.at(-1)?.slice(0, 4) ?? 0) + 1;
const file = `${String(number).padStart(4, '0')}-${name}.ts`;
await writeFile(join(folder, file), source(number, name, up, down));
await writeFile(join(folder, 'index.ts'), index([...files, file]));
const biome = resolve(import.meta.dirname, '..', 'node_modules', '.bin', 'biome');
await promisify(execFile)(biome, ['check', '--write', '--', join(folder, file), join(folder, 'index.ts')], { timeout: 60_000 });
console.log(`wrote management/migrations/${file}: ${up.length} statements`);
