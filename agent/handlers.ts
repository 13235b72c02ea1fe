/** THE LIST: each message a host answers, and the function that does it. */
import { CloudError } from '../protocol/errors.ts';
import type { Log } from '../protocol/log.ts';
import { type Handler, on } from '../protocol/message.ts';
import { ApplyHostNetworks, ConfigureHost, DescribeHost, EnsureBootFiles } from '../protocol/messages/host.ts';
import {
  ChangeIso,
  ForgetMachines,
  ListMachines,
  ListRemains,
  ReadSerialLog,
  RebootMachine,
  StartMachine,
  StopMachine,
} from '../protocol/messages/machine.ts';
import {
  AttachPool,
  CreateVolume,
  DetachPool,
  EnsureImage,
  ListPoolFiles,
  MeasurePool,
  RemoveImage,
  RemoveVolume,
} from '../protocol/messages/storage.ts';
import type { Host } from './hypervisors/hypervisor.ts';

export const hostHandlers = (host: Host): readonly Handler[] => [
  on(DescribeHost, () => host.describe()),
  on(ConfigureHost, async (configuration) => {
    await host.configure(configuration);
    return {};
  }),
  on(ApplyHostNetworks, async (networks) => ({ generation: await host.applyNetworks(networks) })),
  on(EnsureBootFiles, async ({ files }, { signal }) => {
    await host.ensureBootFiles(files, signal);
    return {};
  }),

  on(StartMachine, ({ spec }) => host.machines.start(spec)),
  on(StopMachine, async ({ id, force, graceSeconds }) => ({ power: await host.machines.stop(id, { force, graceSeconds }) })),
  on(RebootMachine, async ({ id, force }) => ({ power: await host.machines.reboot(id, { force }) })),
  on(ListMachines, async () => ({ machines: [...(await host.machines.list())] })),
  on(ChangeIso, async ({ id, iso }) => {
    await host.machines.changeIso(id, iso);
    return {};
  }),
  on(ListRemains, async () => ({ ids: [...(await host.machines.remains())] })),
  on(ForgetMachines, async ({ ids }) => {
    await host.machines.forget(ids);
    return {};
  }),
  on(ReadSerialLog, async ({ id }) => ({ text: await host.machines.serialLog(id) })),

  on(AttachPool, ({ pool }) => host.pools.attach(pool)),
  on(DetachPool, async ({ poolId }) => {
    await host.pools.detach(poolId);
    return {};
  }),
  on(MeasurePool, ({ poolId }) => host.pools.measure(poolId)),
  on(EnsureImage, (image, { signal }) => host.pools.ensureImage(image, signal)),
  on(RemoveImage, async ({ poolId, imageId }) => {
    await host.pools.removeImage(poolId, imageId);
    return {};
  }),
  on(CreateVolume, (volume) => host.pools.createVolume(volume)),
  on(RemoveVolume, async ({ poolId, volumeId }) => {
    await host.pools.removeVolume(poolId, volumeId);
    return {};
  }),
  on(ListPoolFiles, ({ poolId }) => host.pools.list(poolId)),
];

/** A refusal that travels keeps only its sentence; what the tools really said is in this log. */
export const logged = (handlers: readonly Handler[], log: Log): readonly Handler[] =>
  handlers.map(({ name, handle }) => ({
    name,
    handle: async (ask, context) => {
      const begun = performance.now();
      try {
        const answer = await handle(ask, context);
        log.debug({ message: name, requestId: context.requestId, milliseconds: Math.round(performance.now() - begun) }, 'answered');
        return answer;
      } catch (error) {
        const err = error instanceof CloudError ? error : new CloudError('Internal', `the host failed at ${name}`, { cause: error });
        log.warn({ message: name, requestId: context.requestId, err, cause: String(err.cause ?? '') }, 'refused');
        throw err;
      }
    },
  }));
