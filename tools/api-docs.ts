/** `npm run api-docs`: writes docs/api/, command by command what is offered and what of the contract is still missing. */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { AnyCommand } from '../management/core/command.ts';
import type { Fields } from '../management/core/view.ts';
import { type ContractCommand, contract, objectOf, ownCommands, tiers } from '../tests/contract/contract.ts';
import { offeredCommands } from './offered.ts';

const directory = join(import.meta.dirname, '..', 'docs', 'api');

const tierAbout: Readonly<Record<string, string>> = {
  T0: 'used by at least half of the known clients, or needed before any can start',
  T1: 'used by about a third of them',
  T2a: 'used by two or three',
  T2b: 'used by one',
  T3: 'used by none',
};

const cell = (text: string): string => text.replace(/[\\|]/g, '\\$&').replace(/</g, '&lt;');
const names = (list: readonly string[]): string => (list.length === 0 ? '–' : list.map((name) => `\`${name}\``).join(', '));

/** Every object of the contract may carry these two while a job works on it. */
const ofAnyObject = new Set(['jobid', 'jobstatus']);

interface Coverage {
  readonly params: { readonly offered: readonly string[]; readonly missing: readonly string[] };
  readonly fields: { readonly offered: readonly string[]; readonly missing: readonly string[] };
}

const coverage = (command: AnyCommand, theirs: ContractCommand | null): Coverage => {
  const shown: Fields<never> = command.reply.kind === 'success' ? {} : (command.reply.view?.fields ?? {});
  const fieldNames =
    command.reply.kind === 'success' || (command.reply.kind === 'job' && !command.reply.view) ? ['success'] : Object.keys(shown);
  const wanted = (theirs ? (objectOf(theirs.response) ?? []) : []).map(([name]) => name);
  return {
    params: {
      offered: Object.keys(command.params).sort(),
      missing: (theirs?.params ?? []).map(({ name }) => name).filter((name) => !command.params[name]),
    },
    fields: {
      offered: [...fieldNames].sort(),
      missing: wanted.filter(
        (name) => !fieldNames.includes(name) && !ofAnyObject.has(name) && !(fieldNames[0] === 'success' && name === 'displaytext'),
      ),
    },
  };
};

const accessWords: Readonly<Record<string, string>> = {
  public: 'without login',
  user: 'every account',
  domainAdmin: 'domain administrators',
  admin: 'root administrators',
};

const section = (command: AnyCommand, theirs: ContractCommand | null): string[] => {
  const { params, fields } = coverage(command, theirs);
  const required = Object.entries(command.params).flatMap(([name, param]) => (param.required ? [name] : []));
  return [
    '',
    `### ${command.name}`,
    '',
    `${cell(command.about)} ${accessWords[command.access]}${command.reply.kind === 'job' ? '; answers with a job' : ''}.`.replace(
      /\. (\w)/,
      (_, letter: string) => `. For ${letter}`,
    ),
    '',
    `- Parameters: ${names(params.offered)}${required.length > 0 ? ` (required: ${names(required)})` : ''}`,
    ...(params.missing.length > 0 ? [`- Parameters still missing: ${names(params.missing)}`] : []),
    `- Fields: ${names(fields.offered)}`,
    ...(fields.missing.length > 0 ? [`- Fields still missing: ${names(fields.missing)}`] : []),
  ];
};

const HEAD = 'Written by `npm run api-docs` from the code and the contract; do not edit.';

/** The pages by file name. */
export const apiPages = (commands: readonly AnyCommand[]): ReadonlyMap<string, string> => {
  const offered = new Map(commands.map((command) => [command.name, command]));
  const byName = new Map(contract.commands.map((command) => [command.name, command]));
  const pages = new Map<string, string>();
  const rows: string[] = [];
  for (const [tier, members] of Object.entries(tiers)) {
    const sorted = [...members].sort();
    const here = sorted.filter((name) => offered.has(name));
    const missing = sorted.filter((name) => !offered.has(name));
    const file = `${tier.toLowerCase()}.md`;
    rows.push(`| [${tier}](${file}) | ${tierAbout[tier] ?? ''} | ${members.length} | ${here.length} | ${missing.length} |`);
    const sections = here.flatMap((name) => {
      const [command, theirs] = [offered.get(name), byName.get(name)];
      return command && theirs ? section(command, theirs) : [];
    });
    pages.set(
      file,
      `${[`# API commands, tier ${tier}`, '', `Commands ${tierAbout[tier] ?? ''}. ${HEAD}`, '', `## Offered (${here.length})`, ...(sections.length > 0 ? sections : ['', 'None yet.']), '', `## Still missing (${missing.length})`, '', missing.length > 0 ? missing.join(', ') : 'None.'].join('\n')}\n`,
    );
  }
  const own = commands.filter(({ name }) => ownCommands[name] !== undefined);
  pages.set(
    'own.md',
    `${['# API commands of our own', '', `Commands beside the contract, called and answered like its own. ${HEAD}`, ...own.flatMap((command) => [...section(command, null), `- Beside the contract, because ${ownCommands[command.name]}.`])].join('\n')}\n`,
  );
  const index = [
    '# API',
    '',
    `Names, parameters and replies are those of the CloudStack query API; its rules on the wire stand in [wire.md](../wire.md). ${HEAD}`,
    '',
    `${offered.size - own.length} of ${contract.commands.length} commands are offered, and [${own.length} of our own](own.md). A parameter or field that does not work yet is not declared: unknown parameters are ignored, and \`listApis\` shows exactly what works.`,
    '',
    '| Tier | Commands | In the contract | Offered | Still missing |',
    '|---|---|---|---|---|',
    ...rows,
  ];
  pages.set('index.md', `${index.join('\n')}\n`);
  return pages;
};

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const pages = apiPages(offeredCommands());
  await mkdir(directory, { recursive: true });
  for (const old of await readdir(directory)) if (!pages.has(old)) await rm(join(directory, old));
  for (const [file, text] of pages) await writeFile(join(directory, file), text);
  console.log(`wrote docs/api: ${pages.size} pages`);
}
