/** THE LIST of areas, in ladder order. */
import { accountArea } from './account/index.ts';
import type { Area } from './core/area.ts';
import type { Registry } from './core/command.ts';
import { infraArea } from './infra/index.ts';
import { machineArea } from './machine/index.ts';
import { metaArea } from './meta/index.ts';
import { networkArea } from './network/index.ts';
import { offeringArea } from './offering/index.ts';
import { storageArea } from './storage/index.ts';
import { systemVmArea } from './systemvm/index.ts';
import { templateArea } from './template/index.ts';
import { vmArea } from './vm/index.ts';

/** `commands` is asked for when listApis is called: the registry is made from the areas themselves. */
export const allAreas = (commands: () => Registry): readonly Area[] => [
  metaArea(() => commands().commands),
  accountArea,
  infraArea,
  offeringArea,
  templateArea,
  storageArea,
  networkArea,
  machineArea,
  systemVmArea,
  vmArea,
];
