import { IsNull } from 'typeorm';
import { CloudError } from '../../../protocol/errors.ts';
import type { Tx } from '../../core/db.ts';
import { physicalNetworks } from '../entities.ts';

export const isolationMethodNames = ['VXLAN', 'VLAN'] as const;
export type IsolationMethod = (typeof isolationMethodNames)[number];
const largest: Readonly<Record<IsolationMethod, number>> = { VXLAN: 16_777_215, VLAN: 4094 };

export interface Vnets {
  readonly start: number;
  readonly end: number;
}

/** `500-1000`, or one number. */
export function readVnets(text: string, method: IsolationMethod): Vnets {
  const match = /^\s*(\d{1,8})\s*(?:-\s*(\d{1,8})\s*)?$/.exec(text);
  if (!match)
    throw new CloudError('InvalidParameter', `vlan must be one range of numbers such as 10000-10999, and ${text.slice(0, 60)} is not`);
  const start = Number(match[1]);
  const end = Number(match[2] ?? match[1]);
  if (start < 1 || end > largest[method])
    throw new CloudError(
      'InvalidParameter',
      `numbers of a ${method} network are from 1 to ${largest[method]}, and ${text.slice(0, 60)} is not within`,
    );
  if (start > end) throw new CloudError('InvalidParameter', `the range ends (${end}) before it starts (${start})`);
  return { start, end };
}

/** A host carries the guest networks of its whole zone, so no number may stand for two of them. */
export async function mustBeFreeVnets(tx: Tx, zoneId: string, { start, end }: Vnets, except: string | null = null): Promise<void> {
  const others = await tx.findBy(physicalNetworks, { zoneId: zoneId as never, removedAt: IsNull() });
  const clash = others.find(
    ({ id, vnetStart, vnetEnd }) => id !== except && vnetStart !== null && vnetStart <= end && start <= (vnetEnd ?? vnetStart),
  );
  if (clash)
    throw new CloudError(
      'InvalidParameter',
      `the numbers ${start}-${end} overlap ${clash.vnetStart}-${clash.vnetEnd} of the physical network ${clash.name}`,
    );
}

export const readIsolationMethod = (methods: readonly string[] | undefined): IsolationMethod => {
  const [first = 'VXLAN', ...more] = methods ?? [];
  const method = isolationMethodNames.find((name) => name === first.toUpperCase());
  if (method === undefined || more.length > 0)
    throw new CloudError('InvalidParameter', `isolationmethods must be one of ${isolationMethodNames.join(', ')}`);
  return method;
};
