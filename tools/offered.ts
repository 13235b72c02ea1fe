/** The commands the server offers, without a server: the registry is made from the areas themselves. */
import { allAreas } from '../management/areas.ts';
import { type AnyCommand, asCommands, type Registry, registry } from '../management/core/command.ts';

export const offeredRegistry = (): Registry => {
  const offered: Registry = registry(asCommands(...allAreas(() => offered).flatMap(({ commands }) => commands)));
  return offered;
};
export const offeredCommands = (): readonly AnyCommand[] => [...offeredRegistry().commands].sort((a, b) => (a.name < b.name ? -1 : 1));
