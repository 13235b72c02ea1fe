import { CloudError } from '../../../protocol/errors.ts';
import { call } from '../../../protocol/message.ts';
import { RetireHost } from '../../../protocol/messages/host.ts';
import { command, reply } from '../../core/command.ts';
import { lock } from '../../core/db.ts';
import { resolveAlert } from '../../core/events.ts';
import { p, required } from '../../core/params.ts';
import { discardHost } from '../add-host.ts';
import { mustBeEmpty } from '../blockers.ts';
import { type HostRow, hosts } from '../entities.ts';
import { machinesOn } from '../host-machines.ts';
import { hostKind } from '../kinds.ts';
import { takeAgentOff } from '../uninstall.ts';

export const deleteHost = command({
  name: 'deleteHost',
  about: 'Removes a host on which nothing runs, and takes its agent off.',
  access: 'admin',
  event: { type: 'HOST.DELETE', text: 'deleting host', resource: 'Host' },
  params: {
    id: required(p.entity('the host', hostKind, 'operate')),
    forced: p.boolean('true: also a host that is not in maintenance'),
  },
  reply: reply.success(),
  run: async (context, { id: { id }, forced = false }) => {
    const gone = await context.db.transact(async (tx): Promise<HostRow | null> => {
      const host = await lock(tx, hosts, { id });
      if (!host || host.removedAt) return null;
      if (host.resourceState === 'Creating') throw new CloudError('WrongState', `the host ${host.name} is being added now`);
      if (!forced && host.resourceState !== 'Maintenance')
        throw new CloudError(
          'WrongState',
          `the host ${host.name} is not in maintenance; use prepareHostForMaintenance first, or deleteHost with forced=true`,
        );
      await mustBeEmpty(tx, `the host ${host.name}`, [
        { one: 'virtual machine on it', many: 'virtual machines on it', sql: machinesOn("kind = 'guest'", 'COUNT(*) AS n'), values: [id] },
        { one: 'system VM on it', many: 'system VMs on it', sql: machinesOn("kind <> 'guest'", 'COUNT(*) AS n'), values: [id] },
      ]);
      await discardHost(tx, id);
      await resolveAlert(tx, 'host', id);
      await resolveAlert(tx, 'storageMisc', id);
      return host;
    });
    if (!gone) return;
    // An agent that cannot be taken off, because its host does not know our ssh key, at least rings no more at our door.
    if (gone.hypervisor !== 'Simulator')
      await context.agents
        .ask({ kind: 'host', id }, call(RetireHost, {}), { requestId: context.requestId, linkGraceSeconds: 0 })
        .catch((error: unknown) =>
          context.log.info({ err: error, host: gone.name }, 'the agent could not be told that its host was removed'),
        );
    context.agents.drop(id, 'the host was removed');
    context.wake('host');
    await takeAgentOff(context, gone);
  },
});
