import { CloudError } from '../../../protocol/errors.ts';
import { s } from '../../../protocol/schema.ts';
import { lock } from '../../core/db.ts';
import { saga } from '../../core/saga.ts';
import { show } from '../../core/view.ts';
import { hosts } from '../entities.ts';
import { machinesOn } from '../host-machines.ts';
import { hostView, loadHosts } from '../host-views.ts';
import { moveHost } from '../states.ts';
import { one } from '../views.ts';

/**
 * The state is the request: whoever runs machines sees PrepareForMaintenance and moves them. Running guests cannot be moved yet, so a host
 * that has any is not emptied.
 */
export const prepareMaintenance = saga({
  name: 'host.prepareMaintenance',
  version: 1,
  input: s.object({ hostId: s.id('host'), waitSeconds: s.int({ min: 1 }) }),
  run: async (run, { hostId: id, waitSeconds }) => {
    await run.step(
      'prepare',
      async (tx, { wake }) => {
        const host = await lock(tx, hosts, { id });
        if (!host || host.removedAt) throw new CloudError('NotFound', 'the host has been removed meanwhile');
        await moveHost(tx, host, 'prepareMaintenance');
        wake('host');
      },
      async (tx) => {
        const host = await lock(tx, hosts, { id });
        if (host?.resourceState === 'PrepareForMaintenance') await moveHost(tx, host, 'fail');
      },
    );
    await run.until(
      'emptied',
      async (tx) => {
        const host = await lock(tx, hosts, { id });
        if (host?.resourceState !== 'PrepareForMaintenance')
          throw new CloudError('WrongState', 'the preparation for maintenance was cancelled');
        const guests: { name: string }[] = await tx.query(machinesOn("kind = 'guest'", 'instance_name AS name'), [id]);
        if (guests.length > 0)
          throw new CloudError(
            'WrongState',
            `${guests.length} virtual machine(s) run on the host ${host.name} and cannot be moved while they run: ${guests
              .slice(0, 10)
              .map(({ name }) => name)
              .join(', ')}; stop them, then use prepareHostForMaintenance again, or cancelHostMaintenance`,
          );
        const [others] = await tx.query(machinesOn("kind <> 'guest'", 'COUNT(*) AS n'), [id]);
        if (Number(others?.n ?? 0) > 0) return undefined;
        await moveHost(tx, host, 'maintain');
        return true;
      },
      { timeoutSeconds: waitSeconds, timeoutMessage: `system VMs did not leave the host within ${waitSeconds} seconds` },
    );
  },
  result: async (context, _outcome, { hostId }) => ({
    [hostView.key]: show(hostView.fields, one(await loadHosts(context, [hostId])), { admin: true }),
  }),
});
