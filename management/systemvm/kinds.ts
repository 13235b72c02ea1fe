/** THE LIST of system VM kinds. */
import { definition as consoleProxy } from '../../console-proxy/definition.ts';
import type { SystemVmKind, SystemVmKindName } from '../../protocol/kinds.ts';
import { definition as router } from '../../router/definition.ts';
import { definition as secondaryStorage } from '../../secondary-storage/definition.ts';

export const kinds: Readonly<Record<SystemVmKindName, SystemVmKind>> = {
  'console-proxy': consoleProxy,
  'secondary-storage': secondaryStorage,
  router,
};
export const zoneKinds: readonly SystemVmKind[] = Object.values(kinds).filter(({ scope }) => scope === 'zone');
