import { runCommand } from '../systemvm/commands.ts';
import { type Role, serve } from '../systemvm/serve.ts';
import { definition } from './definition.ts';
import { IMAGES_PORT, openImageServer } from './serve-images.ts';
import { openSecondaryStorage } from './service.ts';

export const role: Role = {
  kind: definition,
  start: async ({ log, machine, ring, networkReady, identity, onUp }) => {
    const storage = openSecondaryStorage({
      log,
      ring: () => ring('image'),
      mountFolder: `${machine.runFolder}/stores`,
      run: runCommand,
      networkReady,
    });
    const images = openImageServer({
      log,
      identity,
      folders: storage.stores.openFolders,
      isRemovedHost: storage.isRemovedHost,
      port: IMAGES_PORT,
      networkReady,
    });
    // The first certificate comes with the link, a new one with each renewal; a beat after that at the latest it is in use.
    onUp(() => void images.refresh());
    return {
      handlers: storage.handlers,
      beat: async () => {
        await images.refresh();
        return storage.beat();
      },
      close: async () => {
        await images.close();
        await storage.close();
      },
    };
  },
};

// Not awaited: the program is also run as CommonJS, from a snapshot, where nothing can be awaited at the top level.
void serve(role);
