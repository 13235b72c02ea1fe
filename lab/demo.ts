/** The demo cloud: what `up` makes through the API once the management server answers. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { CloudError } from '../protocol/errors.ts';
import type { GuestTemplate } from '../templates/guest/catalogue.ts';
import { Client, eventually, type Keys, type Reply } from './client.ts';
import { readJsonIfAny, writeJsonWhole } from './files.ts';
import { apiUrl, pathsOf } from './installation.ts';
import { labHostCredentials } from './lab.ts';
import { hostPlan, topology } from './topology.ts';
import { ensureZone, type Say, type ZonePlan } from './zone.ts';

const KeysShape = z.strictObject({ apiKey: z.string(), secretKey: z.string() });
export const DemoShape = z.strictObject({
  admin: KeysShape.nullable(),
  demo: z.strictObject({ username: z.string(), password: z.string(), accountId: z.string(), keys: KeysShape }).nullable(),
  zoneId: z.string().nullable(),
  networkId: z.string().nullable(),
  vmId: z.string().nullable(),
});
export type Demo = z.infer<typeof DemoShape>;
const EMPTY: Demo = { admin: null, demo: null, zoneId: null, networkId: null, vmId: null };

export const readDemo = async (varDir: string): Promise<Demo> => (await readJsonIfAny(pathsOf(varDir).demo, DemoShape)) ?? EMPTY;
const keep = async (varDir: string, changes: Partial<Demo>): Promise<Demo> => {
  const next = { ...(await readDemo(varDir)), ...changes };
  await writeJsonWhole(pathsOf(varDir).demo, next, 0o600);
  return next;
};

/** Logs in with a password, as a browser does, to get keys. */
async function login(
  username: string,
  password: string,
  domain: string,
): Promise<{ userid: string; call: (command: string, params: Record<string, string>) => Promise<Reply> }> {
  const response = await fetch(apiUrl, {
    method: 'POST',
    body: new URLSearchParams({ command: 'login', username, password, domain, response: 'json' }),
  });
  const body: Reply = Object.values(await response.json())[0];
  if (!response.ok) throw new CloudError('LoginFailed', `cannot log in as ${username}: ${body.errortext}`);
  const cookie = response.headers
    .getSetCookie()
    .map((each) => each.split(';')[0])
    .join('; ');
  return {
    userid: body.userid,
    call: async (command, params) => {
      const reply = await fetch(apiUrl, {
        method: 'POST',
        headers: { cookie },
        body: new URLSearchParams({ command, response: 'json', sessionkey: body.sessionkey, ...params }),
      });
      const answer: Reply = Object.values(await reply.json())[0];
      if (!reply.ok) throw new CloudError('Internal', `${command}: ${answer.errortext}`);
      return answer;
    },
  };
}

/** A client with the administrator's keys; they are made at the first time. */
export async function adminClient(varDir: string): Promise<Client> {
  const known = await readDemo(varDir);
  if (known.admin) return new Client(apiUrl, known.admin);
  const password = (await readFile(pathsOf(varDir).adminPassword, 'utf8')).trim();
  const session = await login('admin', password, '/');
  const keys = await keysOf(await session.call('registerUserKeys', { id: session.userid }));
  await keep(varDir, { admin: keys });
  return new Client(apiUrl, keys);
}
const keysOf = ({ userkeys }: Reply): Keys => ({ apiKey: userkeys.apikey, secretKey: userkeys.secretkey });

export async function labZonePlan(varDir: string, hostCount: number): Promise<ZonePlan> {
  const { ranges, hostBridges, internet, nfs, primaryMountPoint } = topology;
  const hosts = await Promise.all(
    Array.from({ length: hostCount }, async (_, i) => {
      const { user, password } = await labHostCredentials(varDir, i + 1);
      return { url: `http://${hostPlan(i + 1).managementAddress}`, username: user, password };
    }),
  );
  const range = ({ gateway, netmask, first, last }: { gateway: string; netmask: string; first: string; last: string }) => ({
    gateway,
    netmask,
    startIp: first,
    endIp: last,
  });
  return {
    name: 'lab',
    hypervisor: 'KVM',
    dns1: internet.address,
    internalDns1: internet.address,
    guestCidr: '10.1.1.0/24',
    vnet: '10000-10999',
    labels: hostBridges,
    pod: { name: 'pod-1', ...range(ranges.podManagement) },
    clusters: [{ name: 'cluster-1', hosts, primary: [{ name: 'primary-1', url: `SharedMountPoint://localhost${primaryMountPoint}` }] }],
    publicRange: range(ranges.public),
    storageRange: range(ranges.storage),
    secondary: { name: 'secondary-1', url: `nfs://${nfs.storageAddress}${nfs.exportPath}`, details: { 'nfs.version': '4.1' } },
  };
}

export async function ensureLabZone(varDir: string, client: Client, hostCount: number, say: Say): Promise<string> {
  const { zoneId } = await ensureZone(client, await labZonePlan(varDir, hostCount), say);
  await keep(varDir, { zoneId });
  return zoneId;
}

/** The tenant of the demo, with keys of its own. */
export async function ensureDemoAccount(varDir: string, admin: Client): Promise<{ client: Client; username: string; password: string }> {
  const known = (await readDemo(varDir)).demo;
  if (known) return { client: new Client(apiUrl, known.keys), username: known.username, password: known.password };
  const username = 'demo';
  const password = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => 'abcdefghjkmnpqrstuvwxyz23456789'[byte % 31]).join('');
  const [old] = await admin.list('listAccounts', { name: username, listall: true });
  const account =
    old ??
    (
      await admin.call('createAccount', {
        accounttype: 0,
        username,
        password,
        email: 'demo@example.test',
        firstname: 'Demo',
        lastname: 'Tenant',
        account: username,
      })
    ).account;
  const user = account.user[0];
  if (old) await admin.call('updateUser', { id: user.id, password });
  const keys = keysOf(await admin.call('registerUserKeys', { id: user.id }));
  await keep(varDir, { demo: { username, password, accountId: account.id, keys } });
  return { client: new Client(apiUrl, keys), username, password };
}

/** Registers a guest template by the URL of the lab's image server; returns its id. */
export async function ensureTemplate(client: Client, zoneid: string, guest: GuestTemplate): Promise<string> {
  const [known] = await client.list('listTemplates', { templatefilter: 'all', name: guest.displayName, zoneid, listall: true });
  if (known) return known.id;
  const [osType] = await client.list('listOsTypes', { description: guest.osType });
  const body = await client.call('registerTemplate', {
    name: guest.displayName,
    displaytext: guest.displayText,
    url: `http://${topology.internet.address}/images/${guest.name}-${guest.sha256.slice(0, 12)}.qcow2`,
    checksum: `{SHA-256}${guest.sha256}`,
    format: guest.format,
    hypervisor: 'KVM',
    zoneid,
    ostypeid: osType?.id,
    ispublic: true,
    isfeatured: true,
    passwordenabled: guest.passwordEnabled,
    sshkeyenabled: guest.sshKeyEnabled,
  });
  return body.template[0].id;
}

export async function templateReady(
  client: Client,
  id: string,
  zoneid: string,
  update: (fraction: number, note: string) => void,
  timeoutSeconds: number,
): Promise<void> {
  await eventually(
    'the template is downloaded',
    async () => {
      const [template] = await client.list('listTemplates', { templatefilter: 'all', id, zoneid });
      if (template?.isready) return true;
      const status = String(template?.status ?? '');
      update(Number(/^(\d+)%/.exec(status)?.[1] ?? 0) / 100, status || 'waiting for the secondary storage VM');
      return false;
    },
    { timeoutSeconds, everyMs: 1000 },
  );
}

/** Waits until every host has come back to the management server after that moment: only then is what the lists say of its machines true. */
export async function hostsHeard(
  client: Client,
  zoneid: string,
  sinceMs: number,
  update: (fraction: number, note: string) => void,
  timeoutSeconds: number,
): Promise<void> {
  await eventually(
    'every host has come back',
    async () => {
      const hosts = await client.list('listHosts', { zoneid, type: 'Routing' });
      // Moments in replies are whole seconds, so the second in which it all began does not count.
      const heard = hosts.filter(({ state, lastpinged }) => state === 'Up' && Date.parse(lastpinged) > sinceMs);
      update(heard.length / Math.max(1, hosts.length), hosts.map(({ name, state }) => `${name} ${state}`).join(', '));
      return hosts.length > 0 && heard.length === hosts.length;
    },
    { timeoutSeconds, everyMs: 500 },
  );
}

/** Waits until every kind of system VM of the zone is up. */
export async function systemVmsUp(
  client: Client,
  zoneid: string,
  update: (fraction: number, note: string) => void,
  timeoutSeconds: number,
): Promise<Reply[]> {
  return eventually(
    'system VMs are up',
    async () => {
      const all = await client.list('listSystemVms', { zoneid });
      const up = all.filter(({ state, agentstate }) => state === 'Running' && agentstate === 'Up');
      update(
        up.length / 2,
        all.map(({ name, state, agentstate }) => `${name} ${state === 'Running' ? agentstate : state}`).join(', ') ||
          'waiting for a host and storage',
      );
      return ['consoleproxy', 'secondarystoragevm'].every((type) => up.some(({ systemvmtype }) => systemvmtype === type)) ? up : null;
    },
    { timeoutSeconds, everyMs: 1000 },
  );
}

export async function ensureFirstVm(
  varDir: string,
  client: Client,
  zoneid: string,
  templateid: string,
  update: (fraction: number, note: string) => void,
): Promise<Reply> {
  const [offering] = await client.list('listServiceOfferings', { name: 'Small Instance' });
  const [networkOffering] = await client.list('listNetworkOfferings', { name: 'DefaultIsolatedNetworkOfferingWithSourceNatService' });
  const [known] = await client.list('listNetworks', { zoneid });
  const network =
    known ??
    (
      await client.call('createNetwork', {
        name: 'demo-network',
        displaytext: 'The first network',
        zoneid,
        networkofferingid: networkOffering.id,
      })
    ).network;
  await keep(varDir, { networkId: network.id });
  const [vm] = await client.list('listVirtualMachines', { zoneid, name: 'first' });
  if (vm && vm.state === 'Running') return vm;
  const { jobid, id } = vm
    ? { ...(await client.call('startVirtualMachine', { id: vm.id })), id: vm.id }
    : await client.call('deployVirtualMachine', {
        zoneid,
        templateid,
        serviceofferingid: offering.id,
        networkids: network.id,
        name: 'first',
        displayname: 'first',
      });
  await keep(varDir, { vmId: id });
  update(0.1, 'implementing the network and its router');
  let isOver = false;
  // It only moves the bar; the job itself says how it ends.
  const starting = eventually(
    'the virtual machine starts',
    async () => isOver || (await client.list('listVirtualMachines', { id }))[0]?.state === 'Starting',
    { timeoutSeconds: 900, everyMs: 1000 },
  );
  starting.then(() => isOver || update(0.7, 'starting the virtual machine')).catch(() => undefined);
  try {
    return (await client.job('deployVirtualMachine', jobid, { timeoutSeconds: 900, pollMs: 1000 })).virtualmachine;
  } finally {
    isOver = true;
  }
}

export const consoleUrl = async (client: Client, virtualmachineid: string): Promise<string> =>
  (await client.call('createConsoleEndpoint', { virtualmachineid })).consoleendpoint.url;
