/** The router's nftables table: loaded as one transaction, and read back from the kernel. */
import { createHash } from 'node:crypto';
import { runCommand } from '../systemvm/commands.ts';
import { readFileOrNull, writeFileIfChanged } from '../systemvm/files.ts';
import type { RouterPlan } from './compile.ts';

export type BlockDigests = ReadonlyMap<string, string>;

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
    } else if (line === '\t}') digests.set(name, createHash('sha256').update(lines.join('\n')).digest('hex'));
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

export function rules({ folder }: { folder: string }): Rules {
  const file = `${folder}/rules.nft`;
  let loaded: BlockDigests | null = null;
  // Until the kernel has refused one. What passes through a flow table skips most of the kernel's path.
  let flowtable = true;

  const changedBlocks = async (): Promise<readonly string[]> => {
    const present = (await readTable()) ?? new Map<string, string>();
    const names = new Set([...(loaded?.keys() ?? []), ...present.keys()]);
    return [...names].filter((name) => loaded?.get(name) !== present.get(name));
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
      const text = await load(plan);
      loaded = await readTable();
      return (await writeFileIfChanged(file, text)) ? 1 : 0;
    },
    changedBlocks,
  };
}
