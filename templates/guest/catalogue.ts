/** The guest templates that come with the cloud: `npx tsx templates/guest/catalogue.ts --var var --which tiny`. */
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { CloudError } from '../../protocol/errors.ts';
import { parse, s } from '../../protocol/schema.ts';
import { fileSha256, type OnProgress } from '../debian.ts';
import { builtOnce, recipeHash } from '../recipe.ts';
import { run } from '../run.ts';
import { debianGuest } from './debian-guest.ts';
import type { GuestRecipe } from './recipe.ts';
import { tinyGuest } from './tiny.ts';

export const guestNames = ['tiny', 'debian'] as const;
export type GuestName = (typeof guestNames)[number];

interface CatalogueEntry {
  readonly recipe: GuestRecipe;
  /** Name and text that a user of the cloud sees. */
  readonly displayName: string;
  readonly displayText: string;
  /** One of `listOsTypes`. */
  readonly osType: string;
  readonly memoryMib: number;
}

/** THE LIST of guest templates. */
export const catalogue: Readonly<Record<GuestName, CatalogueEntry>> = {
  tiny: {
    recipe: tinyGuest,
    displayName: 'Nephos Tiny',
    displayText: 'Tiny Linux (Debian kernel, busybox): DHCP, ssh, user data and password, ready in seconds',
    osType: 'Other Linux (64-bit)',
    memoryMib: 128,
  },
  debian: {
    recipe: debianGuest,
    displayName: 'Debian 13',
    displayText: 'Debian GNU/Linux 13 (trixie) with cloud-init',
    osType: 'Debian GNU/Linux 13 (64-bit)',
    memoryMib: 512,
  },
};

export interface GuestTemplate {
  readonly name: GuestName;
  readonly displayName: string;
  readonly displayText: string;
  readonly osType: string;
  readonly format: 'QCOW2';
  readonly file: string;
  readonly sizeBytes: number;
  readonly virtualSizeBytes: number;
  readonly sha256: string;
  /** The least that it boots with. */
  readonly memoryMib: number;
  /** It asks for its password at boot, and takes the ssh key that the cloud has for it. */
  readonly passwordEnabled: true;
  readonly sshKeyEnabled: true;
}

const Facts = s.object({ sizeBytes: s.int(), virtualSizeBytes: s.int(), sha256: s.sha256() });
// The other fields of the tool's report are not ours.
const virtualSizeOf = (report: string): number => Number(/"virtual-size": (\d+)/.exec(report)?.[1]);

async function buildOne(varDir: string, name: GuestName, onProgress: OnProgress): Promise<GuestTemplate> {
  const { recipe, displayName, displayText, osType, memoryMib } = catalogue[name];
  const directory = await builtOnce(resolve(varDir, 'templates/guest', name), recipeHash(await recipe.recipe()), async (part) => {
    await recipe.build(part, onProgress);
    const disk = join(part, 'disk.qcow2');
    const report = await run('qemu-img', ['info', '--output=json', '--', disk], { timeoutSeconds: 30 });
    const facts = { sizeBytes: (await stat(disk)).size, virtualSizeBytes: virtualSizeOf(report), sha256: await fileSha256(disk) };
    await writeFile(join(part, 'template.json'), JSON.stringify(facts));
  });
  const facts = parse(Facts, JSON.parse(await readFile(join(directory, 'template.json'), 'utf8')), `${directory}/template.json`);
  return {
    name,
    displayName,
    displayText,
    osType,
    format: 'QCOW2',
    file: join(directory, 'disk.qcow2'),
    ...facts,
    memoryMib,
    passwordEnabled: true,
    sshKeyEnabled: true,
  };
}

export interface GuestTemplatesOptions {
  readonly varDir: string;
  readonly which?: readonly GuestName[];
  readonly onProgress?: OnProgress;
}

/** Builds the templates, or finds them built already; one after the other, as each keeps the machine busy. */
export async function buildGuestTemplates({
  varDir,
  which = guestNames,
  onProgress = () => {},
}: GuestTemplatesOptions): Promise<GuestTemplate[]> {
  const templates: GuestTemplate[] = [];
  for (const [index, name] of which.entries()) {
    const template = await buildOne(varDir, name, ({ fraction, step }) =>
      onProgress({ fraction: (index + fraction) / which.length, step: `${name}: ${step}` }),
    );
    templates.push(template);
  }
  return templates;
}

const isGuestName = (name: string): name is GuestName => guestNames.some((known) => known === name);

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { var: { type: 'string', default: 'var' }, which: { type: 'string', multiple: true } } });
  const which = (values.which ?? guestNames).map((name) => {
    if (!isGuestName(name))
      throw new CloudError('InvalidParameter', `there is no guest template ${name}; known are ${guestNames.join(', ')}`);
    return name;
  });
  const templates = await buildGuestTemplates({
    varDir: values.var,
    which,
    onProgress: ({ fraction, step }) => process.stderr.write(`${String(Math.round(fraction * 100)).padStart(3)} %  ${step}\n`),
  });
  process.stdout.write(`${JSON.stringify(templates, null, 2)}\n`);
}
