import { In } from 'typeorm';
import { reconciler } from '../../core/reconcile.ts';
import { agents } from '../../core/tables.ts';
import { configure } from '../configuration.ts';

/** System VMs of a zone are told again what they should be when stores were added or removed, hosts removed, settings changed, and now and then. */
export const configurationReconciler = reconciler({
  name: 'systemVm.configuration',
  everySeconds: 300,
  wakeOn: ['storage', 'setting', 'host'],
  run: async (services) => {
    const up = await services.db.read.find(agents, { where: { kind: In(['console-proxy', 'secondary-storage']), state: 'Up' } });
    for (const { kind, id } of up) {
      await configure(services, { kind, id }).catch((error: unknown) =>
        services.log.warn({ err: error, kind, id }, 'a system VM could not be told its configuration; it is tried again'),
      );
    }
  },
});
