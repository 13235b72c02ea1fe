/** How large a machine or volume of an offering is, where the offering leaves the choice to its user. */
import { CloudError } from '../../protocol/errors.ts';
import type { Settings } from '../core/settings.ts';
import { setting } from '../core/settings.ts';
import type { DiskOfferingRow, ServiceOfferingRow } from './entities.ts';

export const MHZ_DEFAULT = 1000;
export const CPU_COUNT_MAX = 1024;
export const CPU_MHZ_MAX = 10_000;
export const MEMORY_MIB_MIN = 32;
export const MEMORY_MIB_MAX = 16_777_216;

export const customDiskGibMin = setting.integer('custom.diskoffering.size.min', 1, {
  min: 1,
  max: 1_048_576,
  about: 'Smallest size in GiB of a volume whose disk offering leaves the size to its user.',
  category: 'Storage',
});
export const customDiskGibMax = setting.integer('custom.diskoffering.size.max', 1024, {
  min: 1,
  max: 1_048_576,
  about: 'Largest size in GiB of a volume whose disk offering leaves the size to its user.',
  category: 'Storage',
});

export interface MachineSize {
  readonly cpuCount: number;
  readonly cpuMhz: number;
  readonly memoryMib: number;
}
type Sizing = Pick<
  ServiceOfferingRow,
  'name' | 'state' | 'cpuCount' | 'cpuMhz' | 'memoryMib' | 'minCpuCount' | 'maxCpuCount' | 'minMemoryMib' | 'maxMemoryMib'
>;

/** What a new machine of this offering gets; `details` are its user's choices: cpuNumber, cpuSpeed, memory. */
export function sizeOf(offering: Sizing, details: Readonly<Record<string, string>> = {}): MachineSize {
  if (offering.state !== 'Active') throw new CloudError('InvalidParameter', `the service offering ${offering.name} is not active`);
  const choose = (detail: string, fixed: number | null, min: number, max: number, otherwise: number | null): number => {
    const text = details[detail];
    if (fixed !== null) {
      if (text !== undefined)
        throw new CloudError(
          'InvalidParameter',
          `the service offering ${offering.name} has a fixed size: the detail ${detail} cannot be given`,
        );
      return fixed;
    }
    if (text === undefined && otherwise !== null) return otherwise;
    const value = text === undefined || text.trim() === '' ? Number.NaN : Number(text);
    if (!Number.isInteger(value) || value < min || value > max)
      throw new CloudError(
        'InvalidParameter',
        `the service offering ${offering.name} leaves the size to you: give the detail ${detail} as a whole number from ${min} to ${max}`,
      );
    return value;
  };
  return {
    cpuCount: choose('cpuNumber', offering.cpuCount, offering.minCpuCount ?? 1, offering.maxCpuCount ?? CPU_COUNT_MAX, null),
    cpuMhz: choose('cpuSpeed', offering.cpuMhz, 1, CPU_MHZ_MAX, MHZ_DEFAULT),
    memoryMib: choose('memory', offering.memoryMib, offering.minMemoryMib ?? MEMORY_MIB_MIN, offering.maxMemoryMib ?? MEMORY_MIB_MAX, null),
  };
}

/** GiB of a new volume of this offering; `wantedGib` is its user's choice. */
export function diskGibOf(
  offering: Pick<DiskOfferingRow, 'name' | 'state' | 'sizeGib'>,
  wantedGib: number | undefined,
  settings: Pick<Settings, 'get'>,
): number {
  if (offering.state !== 'Active') throw new CloudError('InvalidParameter', `the disk offering ${offering.name} is not active`);
  if (offering.sizeGib !== null) {
    if (wantedGib !== undefined && wantedGib !== offering.sizeGib)
      throw new CloudError('InvalidParameter', `the disk offering ${offering.name} has a fixed size of ${offering.sizeGib} GiB`);
    return offering.sizeGib;
  }
  const min = settings.get(customDiskGibMin);
  const max = settings.get(customDiskGibMax);
  if (wantedGib === undefined || !Number.isInteger(wantedGib) || wantedGib < min || wantedGib > max)
    throw new CloudError(
      'InvalidParameter',
      `the disk offering ${offering.name} leaves the size to you: give size as a whole number of GiB from ${min} to ${max}`,
    );
  return wantedGib;
}
