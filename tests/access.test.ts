/**
 * Every command for every kind of caller, and every parameter that names an object: whoever may not see it is told the same as if it did
 * not exist. The cases are made from the registry, so a new command or parameter without an object here fails.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { ApiError, type Client, eventually } from '../lab/client.ts';
import { callers } from '../management/account/index.ts';
import { type AnyCommand, mayCall } from '../management/core/command.ts';
import type { Caller, Context } from '../management/core/context.ts';
import type { Param } from '../management/core/params.ts';
import { CloudError } from '../protocol/errors.ts';
import { startZone, type Zone } from './cloud/zone.ts';
import { addTenant, type Tenant } from './commands/accounts.ts';
import contract from './contract/commands.json' with { type: 'json' };

/** `owner` has everything; `neighbour` is in the same domain, `admin` administers it; the strangers are in another one. */
const kinds = ['root', 'admin', 'owner', 'neighbour', 'stranger', 'strangerAdmin'] as const;
type Kind = (typeof kinds)[number];
const everybody: readonly Kind[] = kinds;
const ofDomain: readonly Kind[] = ['root', 'admin', 'owner', 'neighbour'];
const owned: readonly Kind[] = ['root', 'admin', 'owner'];
const root: readonly Kind[] = ['root'];

/** Who may name each object in a parameter. */
const seenBy = {
  zone: everybody,
  osType: everybody,
  osCategory: everybody,
  networkOffering: everybody,
  publicServiceOffering: everybody,
  publicDiskOffering: everybody,
  publicTemplate: everybody,
  domainServiceOffering: ofDomain,
  domainDiskOffering: ofDomain,
  domain: ofDomain,
  vm: owned,
  network: owned,
  volume: owned,
  nic: owned,
  publicIp: owned,
  keyPair: owned,
  template: owned,
  iso: owned,
  job: owned,
  event: owned,
  consoleSession: owned,
  router: owned,
  user: owned,
  account: owned,
  role: ['root', 'admin', 'strangerAdmin'],
  pod: root,
  cluster: root,
  host: root,
  physicalNetwork: root,
  trafficType: root,
  provider: root,
  vlanRange: root,
  storageRange: root,
  imageStore: root,
  storagePool: root,
  systemVm: root,
  alert: root,
  server: root,
  /** Zones in whose settings only root admins look. */
  settingsOfZone: root,
} as const satisfies Record<string, readonly Kind[]>;
type Thing = keyof typeof seenBy;

/** What a parameter of this name names, in whatever command. */
const named: Record<string, Thing> = {
  zoneid: 'zone',
  zoneids: 'zone',
  podid: 'pod',
  clusterid: 'cluster',
  hostid: 'host',
  domainid: 'domain',
  parentdomainid: 'domain',
  networkid: 'network',
  networkids: 'network',
  associatednetworkid: 'network',
  virtualmachineid: 'vm',
  templateid: 'template',
  isoid: 'iso',
  serviceofferingid: 'domainServiceOffering',
  diskofferingid: 'domainDiskOffering',
  networkofferingid: 'networkOffering',
  physicalnetworkid: 'physicalNetwork',
  storageid: 'storagePool',
  accountid: 'account',
  imagestoreid: 'imageStore',
  imagestoreuuid: 'imageStore',
  ostypeid: 'osType',
  oscategoryid: 'osCategory',
  roleid: 'role',
  userid: 'user',
  vlanid: 'vlanRange',
  nspid: 'provider',
  nicid: 'nic',
  startid: 'event',
  managementserverid: 'server',
  jobid: 'job',
};
/** What `id` and `ids` name: by the last word of the command that fits. */
const byCommand: readonly [RegExp, Thing][] = [
  [/UserKeys$|ListUsers$|UpdateUser$/i, 'user'],
  [/Accounts$/, 'account'],
  [/Domains$/, 'domain'],
  [/Roles$/, 'role'],
  [/Events$/, 'event'],
  [/Alerts$/, 'alert'],
  [/(StorageNetworkIpRange)$/, 'storageRange'],
  [/VlanIpRanges?$/, 'vlanRange'],
  [/NetworkServiceProviders?$|VirtualRouterElements?$/, 'provider'],
  [/TrafficTypes?$/, 'trafficType'],
  [/PhysicalNetworks?$/, 'physicalNetwork'],
  [/NetworkOfferings?$/, 'networkOffering'],
  [/ServiceOfferings?$/, 'domainServiceOffering'],
  [/DiskOfferings?$/, 'domainDiskOffering'],
  [/Zones?$/, 'zone'],
  [/Pods?$/, 'pod'],
  [/Clusters?$/, 'cluster'],
  [/Hosts?(Maintenance|ForMaintenance)?$/, 'host'],
  [/Templates?(Permissions)?$/, 'template'],
  [/Isos?(Permissions)?$/, 'iso'],
  [/OsTypes$/, 'osType'],
  [/OsCategories$/, 'osCategory'],
  [/StoragePools?$/, 'storagePool'],
  [/ImageStores?$/, 'imageStore'],
  [/Volumes?$/, 'volume'],
  [/SystemVm(s|Boots)?$/, 'systemVm'],
  [/Routers?$/, 'router'],
  [/PublicIpAddresses$/, 'publicIp'],
  [/SSHKeyPairs$/, 'keyPair'],
  [/ConsoleSessions$/, 'consoleSession'],
  [/VirtualMachines?$/, 'vm'],
  [/Networks?$/, 'network'],
];
const thingOf = (command: string, param: string): Thing | undefined =>
  command.endsWith('Configuration') || command.endsWith('Configurations')
    ? param === 'zoneid'
      ? 'settingsOfZone'
      : named[param]
    : param === 'id' || param === 'ids'
      ? byCommand.find(([pattern]) => pattern.test(command))?.[1]
      : named[param];

test('who may call what, and name what', { timeout: 120_000 }, async (t) => {
  const zone = await startZone();
  t.after(() => zone.cloud.close());
  const world = await furnish(zone);
  await t.test('each command is open to the callers that the contract names, and to nobody else', () => roles(zone, world));
  await t.test('without a login only what is public answers', () => withoutLogin(zone));
  await t.test('a parameter that names an object gives it to those who may see it, and to others as if it did not exist', () =>
    objects(zone, world),
  );
  await t.test('over HTTP another one’s id and an unknown id are answered alike', () => alike(zone, world));
  await t.test('an id of something removed is unknown', () => removed(zone, world));
});

interface World {
  readonly clients: Readonly<Record<Kind, Client>>;
  readonly callers: Readonly<Record<Kind, Caller>>;
  readonly ids: Readonly<Record<Thing, string>>;
}

async function furnish(zone: Zone): Promise<World> {
  const { cloud, call, list, zoneId, networkOfferingId, templateId } = zone;
  const { domain } = await call('createDomain', { name: 'one' });
  const { domain: other } = await call('createDomain', { name: 'other' });
  const tenants: Record<Exclude<Kind, 'root'>, Tenant> = {
    admin: await addTenant(cloud, 'admin-one', { domainid: domain.id, accounttype: 2 }),
    owner: await addTenant(cloud, 'owner', { domainid: domain.id }),
    neighbour: await addTenant(cloud, 'neighbour', { domainid: domain.id }),
    stranger: await addTenant(cloud, 'stranger', { domainid: other.id }),
    strangerAdmin: await addTenant(cloud, 'admin-other', { domainid: other.id, accounttype: 2 }),
  };
  const owner = tenants.owner.client;
  const { network } = await owner.call('createNetwork', {
    zoneid: zoneId,
    networkofferingid: networkOfferingId,
    name: 'mine',
    displaytext: 'mine',
  });
  const started = await owner.call('deployVirtualMachine', { ...zone.usual, networkids: network.id, name: 'mine' });
  const { virtualmachine: vm } = await owner.job('deployVirtualMachine', started.jobid);
  await owner.call('createSSHKeyPair', { name: 'mine' });
  await owner.call('createConsoleEndpoint', { virtualmachineid: vm.id });
  const image = { displaytext: 'mine', zoneid: zoneId };
  const { template } = await owner.call('registerTemplate', {
    ...image,
    name: 'mine',
    url: 'http://images.simulated.example/mine.qcow2',
    format: 'QCOW2',
    hypervisor: 'Simulator',
  });
  const { iso } = await owner.call('registerIso', { ...image, name: 'mine', url: 'http://images.simulated.example/mine.iso' });
  const { serviceoffering } = await call('createServiceOffering', {
    name: 'of one',
    displaytext: 'of one',
    cpunumber: 1,
    cpuspeed: 100,
    memory: 128,
    domainid: domain.id,
  });
  const { diskoffering } = await call('createDiskOffering', { name: 'of one', displaytext: 'of one', disksize: 1, domainid: domain.id });
  const [physical] = await list('listPhysicalNetworks', { zoneid: zoneId });
  const [pod] = await list('listPods');
  await zone.run('addTrafficType', { physicalnetworkid: physical.id, traffictype: 'Storage' });
  await zone.run('createStorageNetworkIpRange', {
    podid: pod.id,
    gateway: '172.30.0.1',
    netmask: '255.255.255.0',
    startip: '172.30.0.10',
    endip: '172.30.0.20',
  });
  const { db } = cloud;
  const one = async (sql: string, ...values: unknown[]): Promise<string> => {
    const [row] = await db.rows<{ id: string }>(sql, values);
    assert.ok(row, sql);
    return row.id;
  };
  // An alert is raised when a host is lost.
  await cloud.cutHost(vm.hostid ?? (await one('SELECT host_id AS id FROM machine WHERE id = ?', vm.id)));
  const alert = await eventually('an alert', async () => (await db.rows<{ id: string }>('SELECT id FROM alert'))[0]?.id);
  const [first] = cloud.hosts.keys();
  for (const id of cloud.hosts.keys()) if (cloud.isCut(id)) cloud.mendHost(id);
  const ids: Record<Thing, string> = {
    zone: zoneId,
    osType: (await list('listOsTypes', { page: 1, pagesize: 1 }))[0].id,
    osCategory: (await list('listOsCategories', { page: 1, pagesize: 1 }))[0].id,
    networkOffering: networkOfferingId,
    publicServiceOffering: zone.serviceOfferingId,
    publicDiskOffering: (await list('listDiskOfferings'))[0].id,
    publicTemplate: templateId,
    domainServiceOffering: serviceoffering.id,
    domainDiskOffering: diskoffering.id,
    domain: domain.id,
    vm: vm.id,
    network: network.id,
    volume: await one('SELECT id FROM volume WHERE machine_id = ?', vm.id),
    nic: vm.nic[0].id,
    publicIp: await one('SELECT id FROM public_ip WHERE network_id = ?', network.id),
    keyPair: await one('SELECT id FROM ssh_key_pair'),
    template: template[0].id,
    iso: iso[0].id,
    job: started.jobid,
    event: await one('SELECT id FROM event WHERE account_id = ? LIMIT 1', tenants.owner.account.id),
    consoleSession: await one('SELECT id FROM console_session'),
    router: (await list('listRouters', { networkid: network.id, listall: true }))[0].id,
    user: tenants.owner.account.user[0].id,
    account: tenants.owner.account.id,
    role: await one(`SELECT id FROM role WHERE name = 'User'`),
    pod: pod.id,
    cluster: (await list('listClusters'))[0].id,
    host: first ?? '',
    physicalNetwork: physical.id,
    trafficType: (await list('listTrafficTypes', { physicalnetworkid: physical.id }))[0].id,
    provider: await one(`SELECT id FROM network_service_provider WHERE name = 'VirtualRouter'`),
    vlanRange: (await list('listVlanIpRanges'))[0].id,
    storageRange: (await list('listStorageNetworkIpRange'))[0].id,
    imageStore: (await list('listImageStores'))[0].id,
    storagePool: (await list('listStoragePools'))[0].id,
    systemVm: (await list('listSystemVms'))[0].id,
    alert,
    server: await one('SELECT id FROM management_server'),
    settingsOfZone: zoneId,
  };
  const clients = { root: cloud.admin, ...mapped(tenants, ({ client }) => client) };
  const find = async (userId: string): Promise<Caller> => {
    const caller = await callers(cloud.management.services).byUserId(userId as Caller['userId']);
    assert.ok(caller);
    return caller;
  };
  const users = { root: await one(`SELECT id FROM user WHERE name = 'admin'`), ...mapped(tenants, ({ account }) => account.user[0].id) };
  const found = await Promise.all(kinds.map(async (kind): Promise<[Kind, Caller]> => [kind, await find(users[kind])]));
  return { clients, ids, callers: Object.fromEntries(found) as Record<Kind, Caller> };
}
const mapped = <K extends string, A, B>(from: Readonly<Record<K, A>>, to: (each: A) => B): Record<K, B> =>
  Object.fromEntries(Object.entries<A>(from).map(([key, each]) => [key, to(each)])) as Record<K, B>;

const commandsOf = ({ cloud }: Zone): readonly AnyCommand[] => cloud.management.registry.commands;
const answerOf = async (client: Client, command: string, params = {}): Promise<{ status: number; text: string }> =>
  client.call(command, params).then(
    () => ({ status: 200, text: '' }),
    (error: unknown) => {
      assert.ok(error instanceof ApiError, String(error));
      return { status: error.status, text: error.body.errortext };
    },
  );

const roleOf: Record<Kind, string> = {
  root: 'Admin',
  admin: 'DomainAdmin',
  strangerAdmin: 'DomainAdmin',
  owner: 'User',
  neighbour: 'User',
  stranger: 'User',
};
/** Called over HTTP, these would end the test's own ground. None takes a parameter that must be there. */
const HARMFUL = new Set(['logout']);

async function roles(zone: Zone, { clients, callers: known }: World) {
  for (const command of commandsOf(zone)) {
    const { name, access } = command;
    if (access === 'public') continue;
    const told: { name: string; roles?: readonly string[] } | undefined = contract.commands.find((each) => each.name === name);
    for (const kind of kinds) {
      const open = kind === 'root' || (told?.roles ?? []).includes(roleOf[kind]);
      assert.equal(mayCall(command, known[kind]), open, `${name} for ${kind}`);
      if (open || HARMFUL.has(name)) continue;
      const { status, text } = await answerOf(clients[kind], name);
      assert.equal(status, 432, `${name} for ${kind}: ${text}`);
      assert.ok(text.startsWith(`The API [${name}] does not exist or is not available for the account Account [`), text);
    }
  }
}

async function withoutLogin(zone: Zone) {
  for (const { name, access } of commandsOf(zone)) {
    const response = await fetch(zone.cloud.url, { method: 'POST', body: new URLSearchParams({ command: name, response: 'json' }) });
    const body: unknown = Object.values(await response.json())[0];
    if (access !== 'public') {
      assert.equal(response.status, 401, name);
      assert.match(JSON.stringify(body), /unable to verify user credentials/);
    } else assert.notEqual(response.status, 401, `${name} is public`);
  }
}

interface Naming {
  readonly command: AnyCommand;
  readonly param: string;
  readonly rule: Param<unknown>;
  readonly thing: Thing;
}
function* namings(zone: Zone): Generator<Naming> {
  for (const command of commandsOf(zone)) {
    for (const [param, rule] of Object.entries(command.params)) {
      if (rule.type !== 'uuid' && rule.elem !== 'uuid') continue;
      const thing = thingOf(command.name, param);
      assert.ok(thing, `${command.name} has the parameter ${param}, and this test does not know what it names`);
      yield { command, param, rule, thing };
    }
  }
}
/** Whoever is not the owner may use what is shared with him, and not change it; an admin of the domain changes what is of the domain. */
const mayName = (kind: Kind, thing: Thing): boolean => seenBy[thing].some((each) => each === kind);

async function objects(zone: Zone, { ids, callers: known }: World) {
  const { services } = zone.cloud.management;
  let refused = 0;
  const wrong: string[] = [];
  for (const { command, param, rule, thing } of namings(zone)) {
    for (const kind of kinds) {
      if (!mayCall(command, known[kind]) || (rule.adminOnly && kind !== 'root')) continue;
      const context: Context = { ...services, caller: known[kind], requestId: 'access' };
      const read = async (id: string) => rule.read({ text: id }, { command: command.name, param, context });
      const unknown = randomUUID();
      const whatIsSaid = await read(unknown).then(
        () => assert.fail(`${command.name} ${param} takes any id from ${kind}`),
        (error: unknown) => error,
      );
      assert.ok(whatIsSaid instanceof CloudError && whatIsSaid.status === 431 && whatIsSaid.csCode === 9999);
      assert.ok(
        whatIsSaid.message.includes(
          `Invalid parameter ${param} value=${unknown} due to incorrect long value format, or entity does not exist`,
        ),
      );
      const said = await read(ids[thing]).then(
        () => null,
        (error: unknown) => error,
      );
      if (mayName(kind, thing)) {
        if (said !== null) wrong.push(`${command.name} refuses ${param} (${thing}) to ${kind}`);
        continue;
      }
      refused += 1;
      if (said === null) wrong.push(`${command.name} gives ${param} (${thing}) to ${kind}`);
      if (said === null) continue;
      assert.ok(said instanceof CloudError);
      assert.equal(said.message, whatIsSaid.message.replace(unknown, ids[thing]));
      assert.equal(said.code, whatIsSaid.code);
    }
  }
  assert.deepEqual(wrong, []);
  assert.ok(refused > 100, `only ${refused} refusals were seen`);
}

/** Something that passes for every parameter that must be there and names no object. */
const filler = (type: string): string =>
  type === 'integer' || type === 'long' || type === 'short' || type === 'double' ? '1' : type === 'boolean' ? 'true' : 'x1';

async function alike(zone: Zone, { ids, clients, callers: known }: World) {
  let compared = 0;
  for (const { command, param, rule, thing } of namings(zone)) {
    for (const kind of kinds) {
      if (mayName(kind, thing) || !mayCall(command, known[kind]) || rule.adminOnly) continue;
      const needed = Object.entries(command.params)
        .filter(([name, each]) => each.required && name !== param)
        .map(([name, each]) => {
          const other = each.type === 'uuid' ? thingOf(command.name, name) : undefined;
          return [name, other ? ids[other] : filler(each.type)];
        });
      const answer = async (id: string) => answerOf(clients[kind], command.name, { ...Object.fromEntries(needed), [param]: id });
      const unknown = randomUUID();
      const [foreign, none] = [await answer(ids[thing]), await answer(unknown)];
      assert.notEqual(foreign.status, 200, `${command.name} ${param} for ${kind}`);
      assert.deepEqual({ ...foreign, text: foreign.text.replaceAll(ids[thing], unknown) }, none, `${command.name} ${param} for ${kind}`);
      if (none.text.includes(`Invalid parameter ${param} value=${unknown}`)) compared += 1;
    }
  }
  assert.ok(compared > 60, `only ${compared} parameters were reached`);
}

async function removed({ call, run, network }: Zone, { clients }: World) {
  const { id } = await network('short-lived');
  await run('deleteNetwork', { id });
  for (const kind of kinds) {
    const { status, text } = await answerOf(clients[kind], 'deleteNetwork', { id });
    assert.equal(status, 431);
    assert.ok(text.includes(`Invalid parameter id value=${id}`), text);
  }
  // In a filter it is a thing that was.
  assert.deepEqual(await call('listNetworks', { id }), {});
}
