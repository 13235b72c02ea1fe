/** Reads and changes the host's network devices by `ip` and `bridge`, always many at once through their batch mode. */
import * as z from 'zod';
import { known, parseJson } from '../json.ts';
import { attempt, run } from '../processes.ts';

export interface Link {
  readonly name: string;
  readonly mtu: number;
  readonly up: boolean;
  readonly master: string | null;
  readonly kind: string | null;
  readonly vxlan: { readonly vni: number; readonly local: string | null; readonly port: number; readonly learning: boolean } | null;
}
export interface ForwardingEntry {
  readonly mac: string;
  readonly device: string;
  readonly destination: string;
}

const LinkShape = z.array(
  known({
    ifname: z.string().optional(),
    mtu: z.number().optional(),
    flags: z.array(z.string()).optional(),
    master: z.string().optional(),
    linkinfo: known({
      info_kind: z.string().optional(),
      info_data: known({
        id: z.number().optional(),
        local: z.string().optional(),
        port: z.number().optional(),
        learning: z.boolean().optional(),
      }).optional(),
    }).optional(),
  }),
);
const ForwardingShape = z.array(known({ mac: z.string().optional(), ifname: z.string().optional(), dst: z.string().optional() }));
const AddressShape = z.array(
  known({ addr_info: z.array(known({ family: z.string(), local: z.string().optional(), prefixlen: z.number() })).optional() }),
);

export async function readLinks(): Promise<Link[]> {
  const text = await run('read its network devices', 'ip', ['-json', '-details', 'link', 'show']);
  return parseJson(LinkShape, text === '' ? '[]' : text, 'ip link').flatMap(({ ifname, mtu, flags, master, linkinfo }) => {
    if (ifname === undefined) return [];
    const vxlan = linkinfo?.info_kind === 'vxlan' ? linkinfo.info_data : undefined;
    return [
      {
        name: ifname,
        mtu: mtu ?? 0,
        up: flags?.includes('UP') ?? false,
        master: master ?? null,
        kind: linkinfo?.info_kind ?? null,
        vxlan: vxlan ? { vni: vxlan.id ?? 0, local: vxlan.local ?? null, port: vxlan.port ?? 0, learning: vxlan.learning ?? false } : null,
      },
    ];
  });
}

export async function readForwarding(): Promise<ForwardingEntry[]> {
  const text = await run('read its forwarding entries', 'bridge', ['-json', 'fdb', 'show']);
  return parseJson(ForwardingShape, text.trim() === '' ? '[]' : text, 'bridge fdb').flatMap(({ mac, ifname, dst }) =>
    mac === undefined || ifname === undefined || dst === undefined ? [] : [{ mac, device: ifname, destination: dst }],
  );
}

export async function readAddresses(device: string): Promise<string[]> {
  const text = await run('read its addresses', 'ip', ['-json', 'address', 'show', 'dev', device]);
  return parseJson(AddressShape, text, 'ip address').flatMap(({ addr_info }) =>
    (addr_info ?? []).flatMap(({ family, local, prefixlen }) =>
      family === 'inet' && local !== undefined ? [`${local}/${prefixlen}`] : [],
    ),
  );
}

/** One line of a batch: words that are checked names, addresses and numbers, none with a blank. */
export type BatchLine = readonly (string | number)[];
const batch = (lines: readonly BatchLine[]): string => lines.map((words) => `${words.join(' ')}\n`).join('');

export async function changeLinks(doing: string, lines: readonly BatchLine[]): Promise<void> {
  if (lines.length > 0) await run(doing, 'ip', ['-batch', '-'], { input: batch(lines), timeoutSeconds: 60 });
}
/** Goes on after a line that fails, because entries vanish by themselves with their device; the caller reads back what came of it. */
export async function changeForwarding(lines: readonly BatchLine[]): Promise<void> {
  if (lines.length > 0) await attempt('bridge', ['-force', '-batch', '-'], { input: batch(lines), timeoutSeconds: 60 });
}
