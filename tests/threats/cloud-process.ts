/** A simulated cloud in a process of its own that logs everything, so that its output, arguments and sockets can be looked at from outside. */
import type { ServiceConnections } from '../../lab/services.ts';
import { createLog } from '../../protocol/log.ts';
import { startZone } from '../cloud/zone.ts';

export interface CloudToStart {
  readonly services: ServiceConnections;
  readonly varDirectory: string;
}
/** A machine as it was last sent to its host. */
export interface SentMachine {
  readonly id: string;
  readonly vncPassword: string;
  readonly bootArguments: string;
}
export interface RunningCloud {
  readonly is: 'ready';
  readonly url: string;
  readonly keys: { readonly apiKey: string; readonly secretKey: string };
  readonly zoneId: string;
  readonly networkOfferingId: string;
  readonly usual: Readonly<Record<string, string>>;
}
export type FromCloud = RunningCloud | { readonly is: 'machines'; readonly machines: readonly SentMachine[] };
export type ToCloud = { readonly start: CloudToStart } | { readonly ask: 'machines' } | { readonly ask: 'end' };

const send = (message: FromCloud): void => {
  process.send?.(message);
};
let zone: Awaited<ReturnType<typeof startZone>> | null = null;
process.on('message', async (message: ToCloud) => {
  if ('start' in message) {
    zone = await startZone({ ...message.start, log: createLog('cloud', { level: 'trace' }), hostsPerCluster: 1 });
    const { zoneId, networkOfferingId, templateId, serviceOfferingId, cloud } = zone;
    const usual = { zoneid: zoneId, templateid: templateId, serviceofferingid: serviceOfferingId };
    send({ is: 'ready', url: cloud.url, keys: cloud.adminKeys, zoneId, networkOfferingId, usual });
  } else if (message.ask === 'machines') {
    const ids = (await zone?.list('listVirtualMachines', { listall: true }))?.map(({ id }) => id) ?? [];
    const systemIds = [...(zone?.cloud.systemVms.keys() ?? [])];
    const specs = [...ids, ...systemIds].flatMap((id) => [...(zone?.cloud.hosts.values() ?? [])].flatMap((host) => host.specOf(id) ?? []));
    send({
      is: 'machines',
      machines: specs.map(({ id, vncPassword, boot }) => ({ id, vncPassword, bootArguments: 'arguments' in boot ? boot.arguments : '' })),
    });
  } else {
    await zone?.cloud.close();
    process.disconnect();
  }
});
