/** A cloud with the zone of simulated hosts, ready for machines, for tests. */
import type { Client, Params, Reply } from '../../lab/client.ts';
import { type Cloud, type CloudOptions, startCloud } from './cloud.ts';
import { holds } from './invariants.ts';
import { ensureSimulatorZone, simulatorPlan } from './simulator-zone.ts';

export interface Zone {
  readonly cloud: Cloud;
  readonly zoneId: string;
  readonly templateId: string;
  readonly serviceOfferingId: string;
  readonly networkOfferingId: string;
  /** The admin, of the server that runs now. */
  readonly call: Client['call'];
  readonly run: Client['run'];
  readonly list: Client['list'];
  readonly network: (name: string, params?: Params) => Promise<Reply>;
  /** What a deployment takes, without its network and name. */
  readonly usual: Params;
  readonly deploy: (params: Params, waiting?: { timeoutSeconds?: number; pollMs?: number }) => Promise<Reply>;
  readonly vm: (id: string) => Promise<Reply>;
  readonly settings: (values: Readonly<Record<string, string>>) => Promise<void>;
  readonly holds: (options?: { timeoutSeconds?: number }) => Promise<void>;
}

export async function startZone(options: CloudOptions & { hostsPerCluster?: number } = {}): Promise<Zone> {
  const cloud = await startCloud(options);
  try {
    const ids = await ensureSimulatorZone(cloud.admin, simulatorPlan(0, options.hostsPerCluster ?? 2));
    const usual = { zoneid: ids.zoneId, templateid: ids.templateId, serviceofferingid: ids.serviceOfferingId };
    return {
      cloud,
      ...ids,
      usual,
      call: (...given) => cloud.admin.call(...given),
      run: (...given) => cloud.admin.run(...given),
      list: (...given) => cloud.admin.list(...given),
      network: async (name, params = {}) => {
        const made = await cloud.admin.call('createNetwork', {
          zoneid: ids.zoneId,
          networkofferingid: ids.networkOfferingId,
          name,
          displaytext: name,
          ...params,
        });
        return made.network;
      },
      deploy: async (params, waiting = {}) =>
        (await cloud.admin.run('deployVirtualMachine', { ...usual, ...params }, waiting)).virtualmachine,
      vm: async (id) => (await cloud.admin.list('listVirtualMachines', { id }))[0],
      settings: async (values) => {
        for (const [name, value] of Object.entries(values)) await cloud.admin.call('updateConfiguration', { name, value });
      },
      holds: (waiting) => holds(cloud, waiting),
    };
  } catch (error) {
    await cloud.close();
    throw error;
  }
}
