/** The router's nftables table: loaded as one transaction, and read back from the kernel. */
import { createHash } from 'node:crypto';
import { runCommand } from '../systemvm/commands.ts';
import { readFileOrNull, writeFileIfChanged } from '../systemvm/files.ts';
import type { RouterPlan } from './compile.ts';

export type BlockDigests = ReadonlyMap<string, string>;

const digestOf = (lines: readonly string[]): string => createHash('sha256').update(lines.join('\n')).digest('hex');

/** Of a set, in whatever order and lines its elements stand. Pure. */
export function setDigest(lines: readonly string[]): string {
  const text = lines.map((line) => line.trim()).join(' ');
  const [, elements = ''] = /elements = \{([^}]*)\}/.exec(text) ?? [];
  const listed = elements
    .split(',')
    .map((element) => element.trim())
    .filter((element) => element !== '');
  return digestOf([text.replace(/elements = \{[^}]*\}/, '').trim(), ...listed.sort()]);
}

/** A digest of each chain and set of a table as `nft list` prints it. Pure. */
export function blockDigests(listing: string): Map<string, string> {
  const digests = new Map<string, string>();
  let name = '';
  let lines: string[] = [];
  for (const line of listing.split('\n')) {
    const opened = /^\t((?:chain|set|map|flowtable) \w+) \{$/.exec(line);
    if (opened) {
      name = String(opened[1]);
      lines = [];
    } else if (line === '\t}') digests.set(name, name.startsWith('set ') ? setDigest(lines) : digestOf(lines));
    else lines.push(line);
  }
  return digests;
}

/** Null when the kernel has no such table. */
async function readTable(): Promise<BlockDigests | null> {
  try {
    return blockDigests(await runCommand('nft', ['-s', 'list', 'table', 'inet', 'nephos_router']));
  } catch {
    return null;
  }
}

export interface Rules {
  /** How many files had to change; the kernel's rules are replaced when they are not those of the plan. */
  readonly apply: (plan: RouterPlan) => Promise<number>;
  /** Blocks that the kernel has otherwise than they were loaded. */
  readonly changedBlocks: () => Promise<readonly string[]>;
}

/** So long after the kernel's rules were last read and found right, new elements are added to them without another look. */
const TRUSTED_MS = 90_000;

/** The plan's text for one set, as it stands in the ruleset. */
const setLines = (ruleset: string, name: string): readonly string[] =>
  (ruleset.split(`\n  set ${name} {\n`)[1] ?? '').split('\n  }\n')[0]?.split('\n') ?? [];
const withoutElements = (ruleset: string): string => ruleset.replaceAll(/elements = \{[^}]*\}/g, '');

export function rules({ folder }: { folder: string }): Rules {
  const file = `${folder}/rules.nft`;
  let loaded: BlockDigests | null = null;
  // Until the kernel has refused one. What passes through a flow table skips most of the kernel's path.
  let flowtable = true;
  let loadedPlan: { readonly text: string; readonly sets: RouterPlan['sets'] } | null = null;
  let rightAtMs = Number.NEGATIVE_INFINITY;

  const changedBlocks = async (): Promise<readonly string[]> => {
    const present = (await readTable()) ?? new Map<string, string>();
    const names = new Set([...(loaded?.keys() ?? []), ...present.keys()]);
    const changed = [...names].filter((name) => loaded?.get(name) !== present.get(name));
    rightAtMs = changed.length === 0 ? performance.now() : Number.NEGATIVE_INFINITY;
    return changed;
  };
  /** When the plan has no more than new elements in its sets, adds these; the kernel itself echoes what it has added. */
  const addElements = async (plan: RouterPlan, text: string): Promise<boolean> => {
    if (loaded === null || loadedPlan === null || performance.now() - rightAtMs > TRUSTED_MS) return false;
    if (withoutElements(loadedPlan.text) !== withoutElements(text)) return false;
    const added = new Map<string, readonly string[]>();
    for (const [name, elements] of plan.sets) {
      const before = new Set(loadedPlan.sets.get(name));
      const fresh = elements.filter((element) => !before.delete(element));
      // The kernel echoes no removal, so that goes with the whole table.
      if (before.size > 0) return false;
      if (fresh.length > 0) added.set(name, fresh);
    }
    const lines = [...added].map(([name, fresh]) => `add element inet nephos_router ${name} { ${fresh.join(', ')} }\n`);
    try {
      const echo = await runCommand('nft', ['-e', '-f', '-'], { input: lines.join('') });
      if (![...added.values()].flat().every((element) => echo.includes(element))) return false;
    } catch {
      return false;
    }
    const digests = [...added.keys()].map((name) => [`set ${name}`, setDigest(setLines(text, name))] as const);
    loaded = new Map([...loaded, ...digests]);
    return true;
  };
  const load = async (plan: RouterPlan): Promise<string> => {
    const text = plan.ruleset({ flowtable });
    try {
      await runCommand('nft', ['-f', '-'], { input: text });
      return text;
    } catch (error) {
      if (!flowtable) throw error;
      const plain = plan.ruleset({ flowtable: false });
      await runCommand('nft', ['-f', '-'], { input: plain });
      flowtable = false;
      return plain;
    }
  };

  return {
    apply: async (plan) => {
      const same = (await readFileOrNull(file))?.toString('utf8') === plan.ruleset({ flowtable });
      if (same && loaded !== null && (await changedBlocks()).length === 0) return 0;
      const wanted = plan.ruleset({ flowtable });
      if (await addElements(plan, wanted)) {
        loadedPlan = { text: wanted, sets: plan.sets };
        return (await writeFileIfChanged(file, wanted)) ? 1 : 0;
      }
      const text = await load(plan);
      loaded = await readTable();
      loadedPlan = { text, sets: plan.sets };
      rightAtMs = performance.now();
      return (await writeFileIfChanged(file, text)) ? 1 : 0;
    },
    changedBlocks,
  };
}
