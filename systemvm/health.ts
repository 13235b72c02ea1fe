/** What a system VM tells of itself when asked. */
import { release } from 'node:os';
import type { BootStage } from '../protocol/messages/systemvm.ts';
import { readFileOrNull } from './files.ts';
import type { Machine } from './machine.ts';

export interface SystemVmDescription {
  version: string;
  operatingSystem: string;
  kernel: string;
  node: string;
  residentMib: number;
  stages: BootStage[];
}

export async function describeSystemVm(known: {
  machine: Machine;
  version: string;
  stages: readonly BootStage[];
}): Promise<SystemVmDescription> {
  const osRelease = (await readFileOrNull(known.machine.osReleaseFile))?.toString('utf8') ?? '';
  return {
    version: known.version,
    operatingSystem: (/^PRETTY_NAME="?([^"\n]*)"?$/m.exec(osRelease)?.[1] ?? 'unknown').slice(0, 200),
    kernel: release().slice(0, 100),
    node: process.version,
    residentMib: Math.round(process.memoryUsage.rss() / 1_048_576),
    stages: [...known.stages],
  };
}
