/** The zone of simulated hosts that other clients' test suites take for granted, made through the API. */
import { type Client, eventually, type Reply } from '../../lab/client.ts';
import { ensureZone, type ZonePlan } from '../../lab/zone.ts';

/** Names that those test suites know, with the number that keeps their addresses and hosts apart; the first one is always made. */
export const knownZones: ReadonlyMap<string, number> = new Map([
  ['Sandbox-simulator', 0],
  ['Sandbox-simulator-advanced', 1],
]);

export const simulatorPlan = (
  number = 0,
  hostsPerCluster = 2,
  name = number === 0 ? 'Sandbox-simulator' : `Sandbox-simulator-${number}`,
): ZonePlan => ({
  name,
  hypervisor: 'Simulator',
  dns1: '10.147.28.6',
  internalDns1: '10.147.28.6',
  guestCidr: '10.1.1.0/24',
  vnet: '100-1999',
  labels: { management: 'cloudbr0', public: 'cloudbr1', storage: null },
  pod: {
    name: 'POD0',
    gateway: `172.16.${15 + number}.1`,
    netmask: '255.255.255.0',
    startIp: `172.16.${15 + number}.2`,
    endIp: `172.16.${15 + number}.200`,
  },
  clusters: [0, 1].map((cluster) => ({
    name: `C${cluster}`,
    hosts: Array.from({ length: hostsPerCluster }, (_, host) => ({
      url: `http://sim/c${cluster + 2 * number}/h${host}`,
      username: 'root',
      password: 'password',
    })),
    primary: [{ name: `PS${cluster}`, url: `nfs://10.147.28.6/export/home/sandbox/primary${cluster}` }],
  })),
  publicRange: {
    gateway: `192.168.${2 + number}.1`,
    netmask: '255.255.255.0',
    startIp: `192.168.${2 + number}.2`,
    endIp: `192.168.${2 + number}.200`,
  },
  storageRange: null,
  secondary: { name: `secondary-${number}`, url: 'nfs://10.147.28.6/export/home/sandbox/sstor' },
});
export const TEMPLATE_NAME = 'CentOS 5.6 (64-bit) no GUI (Simulator)';

/** Zone, system VMs and the ready template; returns their ids. */
export async function ensureSimulatorZone(
  client: Client,
  plan: ZonePlan = simulatorPlan(),
): Promise<{ zoneId: string; templateId: string; serviceOfferingId: string; networkOfferingId: string }> {
  const { zoneId } = await ensureZone(client, plan);
  const [known] = await client.list('listTemplates', { templatefilter: 'all', name: TEMPLATE_NAME, zoneid: zoneId });
  const template: Reply =
    known ??
    (
      await client.call('registerTemplate', {
        name: TEMPLATE_NAME,
        displaytext: TEMPLATE_NAME,
        url: 'http://images.simulated.example/centos56-x86_64.qcow2',
        format: 'QCOW2',
        hypervisor: 'Simulator',
        zoneid: zoneId,
        ispublic: true,
        isfeatured: true,
      })
    ).template[0];
  await eventually(
    'the template is ready',
    async () => (await client.list('listTemplates', { templatefilter: 'all', id: template.id, zoneid: zoneId }))[0]?.isready,
    { timeoutSeconds: 60 },
  );
  const [offering] = await client.list('listServiceOfferings', { name: 'Small Instance' });
  const [networkOffering] = await client.list('listNetworkOfferings', { name: 'DefaultIsolatedNetworkOfferingWithSourceNatService' });
  return { zoneId, templateId: template.id, serviceOfferingId: offering.id, networkOfferingId: networkOffering.id };
}
