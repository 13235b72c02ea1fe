import { IsNull } from 'typeorm';
import { Secret } from '../../../protocol/schema.ts';
import { newJoinToken } from '../../core/agent-records.ts';
import { reconciler } from '../../core/reconcile.ts';
import { hosts } from '../entities.ts';
import { simulatedHosts } from '../installer.ts';

/** A simulated host lives in a process that ends; afterwards it joins again, like a machine whose disk was lost. */
export const simulatedHostsReconciler = reconciler({
  name: 'infra.simulatedHosts',
  everySeconds: 5,
  wakeOn: ['simulatedHosts'],
  run: async ({ db, certificates, config }) => {
    const simulator = simulatedHosts();
    if (!simulator) return;
    const wanted = await db.read.find(hosts, { where: { hypervisor: 'Simulator', removedAt: IsNull() } });
    for (const { id, url, address, clusterId, resourceState } of wanted) {
      // Whoever is adding it starts it too.
      if (resourceState === 'Creating' || simulator.has(id)) continue;
      const joinToken = new Secret(await db.transact((tx) => newJoinToken(tx, { kind: 'host', id })));
      await simulator.add({ hostId: id, joinToken, caSha256: certificates.caSha256, servers: config.advertise, url, address, clusterId });
    }
  },
});
