/** Makes a whole zone through the API, as any client would; what is there already is left as it is. */
import type { Client, Params, Reply } from './client.ts';

export interface ZonePlan {
  readonly name: string;
  readonly hypervisor: 'KVM' | 'Simulator';
  readonly dns1: string;
  readonly internalDns1: string;
  readonly guestCidr: string;
  readonly vnet: string;
  readonly labels: { readonly management: string; readonly public: string; readonly storage: string | null };
  readonly pod: {
    readonly name: string;
    readonly gateway: string;
    readonly netmask: string;
    readonly startIp: string;
    readonly endIp: string;
  };
  readonly clusters: readonly {
    readonly name: string;
    readonly hosts: readonly { readonly url: string; readonly username: string; readonly password: string }[];
    readonly primary: readonly { readonly name: string; readonly url: string }[];
  }[];
  readonly publicRange: { readonly gateway: string; readonly netmask: string; readonly startIp: string; readonly endIp: string };
  readonly storageRange: { readonly gateway: string; readonly netmask: string; readonly startIp: string; readonly endIp: string } | null;
  readonly secondary: { readonly name: string; readonly url: string; readonly details?: Readonly<Record<string, string>> };
}
export type Say = (what: string) => void;

/** The first item of a list command that fits, or what `make` makes. */
async function ensure(
  client: Client,
  command: string,
  filter: Params,
  fits: (item: Reply) => boolean,
  make: () => Promise<Reply>,
): Promise<Reply> {
  const found = (await client.list(command, filter)).find(fits);
  return found ?? make();
}

export async function ensureZone(
  client: Client,
  plan: ZonePlan,
  say: Say = () => {},
): Promise<{ zoneId: string; physicalNetworkId: string }> {
  const named = (name: string) => (item: Reply) => item.name === name;
  say('zone');
  const zone = await ensure(client, 'listZones', {}, named(plan.name), async () => {
    const made = await client.call('createZone', {
      name: plan.name,
      networktype: 'Advanced',
      dns1: plan.dns1,
      internaldns1: plan.internalDns1,
      guestcidraddress: plan.guestCidr,
      allocationstate: 'Disabled',
    });
    return made.zone;
  });
  const zoneid = zone.id;
  say('physical network');
  const physical = await ensure(client, 'listPhysicalNetworks', { zoneid }, named('physical-1'), async () => {
    const made = await client.run('createPhysicalNetwork', { zoneid, name: 'physical-1', isolationmethods: 'VXLAN', vlan: plan.vnet });
    return made.physicalnetwork;
  });
  const physicalnetworkid = physical.id;
  const traffic: [string, string | undefined][] = [
    ['Management', plan.labels.management],
    ['Public', plan.labels.public],
    ['Guest', undefined],
    ...(plan.labels.storage ? [['Storage', plan.labels.storage] as [string, string]] : []),
  ];
  for (const [traffictype, kvmnetworklabel] of traffic) {
    await ensure(
      client,
      'listTrafficTypes',
      { physicalnetworkid },
      (item) => item.traffictype === traffictype,
      () => client.run('addTrafficType', { physicalnetworkid, traffictype, kvmnetworklabel }),
    );
  }
  if (physical.state !== 'Enabled') await client.run('updatePhysicalNetwork', { id: physicalnetworkid, state: 'Enabled', vlan: plan.vnet });
  const provider = (await client.list('listNetworkServiceProviders', { physicalnetworkid, name: 'VirtualRouter' }))[0];
  if (provider && provider.state !== 'Enabled') {
    const element = (await client.list('listVirtualRouterElements', { nspid: provider.id }))[0];
    if (element && !element.enabled) await client.run('configureVirtualRouterElement', { id: element.id, enabled: true });
    await client.run('updateNetworkServiceProvider', { id: provider.id, state: 'Enabled' });
  }
  say('pod');
  const pod = await ensure(client, 'listPods', { zoneid }, named(plan.pod.name), async () => {
    const { name, gateway, netmask, startIp: startip, endIp: endip } = plan.pod;
    return (await client.call('createPod', { zoneid, name, gateway, netmask, startip, endip })).pod;
  });
  say('public addresses');
  const { gateway, netmask, startIp: startip, endIp: endip } = plan.publicRange;
  await ensure(
    client,
    'listVlanIpRanges',
    { zoneid },
    (item) => item.startip === startip,
    () =>
      client.call('createVlanIpRange', {
        zoneid,
        physicalnetworkid,
        vlan: 'untagged',
        gateway,
        netmask,
        startip,
        endip,
        forvirtualnetwork: true,
      }),
  );
  if (plan.storageRange) {
    const range = plan.storageRange;
    await ensure(
      client,
      'listStorageNetworkIpRange',
      { zoneid },
      (item) => item.startip === range.startIp,
      () =>
        client.run('createStorageNetworkIpRange', {
          podid: pod.id,
          gateway: range.gateway,
          netmask: range.netmask,
          startip: range.startIp,
          endip: range.endIp,
        }),
    );
  }
  for (const plannedCluster of plan.clusters) {
    say(`cluster ${plannedCluster.name}`);
    const cluster = await ensure(client, 'listClusters', { zoneid }, named(plannedCluster.name), async () => {
      const items = await client.call('addCluster', {
        zoneid,
        podid: pod.id,
        clustername: plannedCluster.name,
        clustertype: 'CloudManaged',
        hypervisor: plan.hypervisor,
      });
      return items.cluster[0];
    });
    for (const { url, username, password } of plannedCluster.hosts) {
      say(`host ${url}`);
      const address = new URL(url).hostname;
      await ensure(
        client,
        'listHosts',
        { zoneid, type: 'Routing' },
        (item) =>
          item.ipaddress === address ||
          item.name === url ||
          item.name === address ||
          (plan.hypervisor === 'Simulator' && item.name === url.replace(/^http:\/\/sim\//, '').replaceAll('/', '-')),
        () =>
          client.call('addHost', { zoneid, podid: pod.id, clusterid: cluster.id, hypervisor: plan.hypervisor, url, username, password }),
      );
    }
    for (const { name, url } of plannedCluster.primary) {
      say(`primary storage ${name}`);
      await ensure(client, 'listStoragePools', { zoneid }, named(name), () =>
        client.call('createStoragePool', {
          zoneid,
          podid: pod.id,
          clusterid: cluster.id,
          name,
          url,
          scope: 'CLUSTER',
          hypervisor: plan.hypervisor,
        }),
      );
    }
  }
  say('secondary storage');
  await ensure(client, 'listImageStores', { zoneid }, named(plan.secondary.name), () => {
    const details = Object.fromEntries(
      Object.entries(plan.secondary.details ?? {}).flatMap(([key, value], i) => [
        [`details[${i}].key`, key],
        [`details[${i}].value`, value],
      ]),
    );
    return client.call('addImageStore', { zoneid, name: plan.secondary.name, provider: 'NFS', url: plan.secondary.url, ...details });
  });
  say('enable');
  if (zone.allocationstate !== 'Enabled') await client.call('updateZone', { id: zoneid, allocationstate: 'Enabled' });
  return { zoneId: zoneid, physicalNetworkId: physicalnetworkid };
}
