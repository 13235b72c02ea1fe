/** Debian's packages python3-libcloud and python3-cs, unmodified: each works, or the cloud is at fault. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import ssh2 from 'ssh2';
import type { Client, Keys, Reply } from '../../lab/client.ts';
import { ensureSimulatorZone, knownZones, simulatorPlan, TEMPLATE_NAME } from '../cloud/simulator-zone.ts';
import { startZone, type Zone } from '../cloud/zone.ts';
import { addTenant } from '../commands/accounts.ts';
import { parsed, program, script } from './python.ts';

test('MI-03 clients from Debian’s packages', { timeout: 180_000 }, async (t) => {
  const zone = await startZone();
  t.after(() => zone.cloud.close());
  const world: World = { zone, libcloud: await tenant(zone, 'libcloud'), cs: await tenant(zone, 'cs') };
  const steps: [string, (world: World) => Promise<void>][] = [
    ['libcloud logs in by its signature, and is told when it may not', libcloudLogin],
    ['libcloud lists what a machine is made of', libcloudCatalogue],
    ['libcloud makes, imports, lists and deletes key pairs', libcloudKeys],
    ['libcloud deploys, finds, stops, starts and destroys a machine', libcloudLife],
    ['libcloud registers an ISO', libcloudIso],
    ['cs signs odd texts by GET and POST, until they expire', csSignatures],
    ['cs fetches lists page by page', csLists],
    ['cs deploys and destroys a machine and waits for its jobs', csLife],
    ['cs deploys and destroys machines at the same time', csAtOnce],
    ['the command line of cs takes its settings from the environment and from a file', csProgram],
    ['the zone has the names that other clients’ tests know', simulatorNames],
    ['a second zone that they know is made beside it', secondZone],
  ];
  for (const [title, step] of steps) await t.test(title, () => step(world));
  await t.test('nothing is left behind', () => zone.holds());
});

interface Tenant {
  readonly client: Client;
  readonly keys: Keys;
}
interface World {
  readonly zone: Zone;
  readonly libcloud: Tenant;
  readonly cs: Tenant;
}
interface Raised {
  readonly raised?: string;
  readonly words?: string;
  readonly status?: number;
  readonly error?: Reply;
  readonly value?: Reply;
}

async function tenant({ cloud }: Zone, name: string): Promise<Tenant> {
  const { account, client } = await addTenant(cloud, name);
  const { userkeys } = await cloud.admin.call('getUserKeys', { id: account.user[0].id });
  return { client, keys: { apiKey: userkeys.apikey, secretKey: userkeys.secretkey } };
}

const withLibcloud = ({ zone, libcloud }: World, task: string, given: object = {}): Promise<Reply> =>
  script('with-libcloud.py', [task], { url: zone.cloud.url, ...libcloud.keys, ...given });

async function libcloudLogin(world: World) {
  assert.equal(await withLibcloud(world, 'login'), null);
  for (const wrong of [{ secretKey: 'wrong' }, { apiKey: 'nobody' }])
    assert.equal((await withLibcloud(world, 'login', wrong)).kind, 'credentials');
}

async function libcloudCatalogue(world: World) {
  const seen = await withLibcloud(world, 'catalogue');
  assert.deepEqual(seen.locations, ['Sandbox-simulator']);
  assert.deepEqual(seen.images, [
    {
      name: TEMPLATE_NAME,
      hypervisor: 'Simulator',
      format: 'QCOW2',
      os: 'Other (64-bit)',
      displaytext: TEMPLATE_NAME,
      size: 2 ** 30,
    },
  ]);
  assert.deepEqual(seen.imagesOfZone, [TEMPLATE_NAME]);
  assert.deepEqual(seen.sizes, [
    ['Small Instance', 1, 512],
    ['Medium Instance', 1, 1024],
  ]);
  assert.deepEqual(seen.disks, [
    ['Small', 5, false],
    ['Medium', 20, false],
    ['Large', 100, false],
    ['Custom', 0, true],
  ]);
  const [router] = await world.zone.list('listServiceOfferings', { issystem: true, systemvmtype: 'domainrouter' });
  assert.deepEqual(seen.networkOfferings, [
    ['DefaultIsolatedNetworkOfferingWithSourceNatService', 'Isolated', false, router.id],
    ['DefaultIsolatedNetworkOffering', 'Isolated', false, router.id],
  ]);
  assert.ok(seen.osTypes.includes('CentOS 5.5 (64-bit)'));
  assert.deepEqual(seen.nothing, [[], [], [], [], []]);
}

async function libcloudKeys(world: World) {
  const { public: publicKey } = ssh2.utils.generateKeyPairSync('ed25519', { comment: 'somebody' });
  const seen = await withLibcloud(world, 'keys', { publicKey });
  assert.match(seen.private, /^-----BEGIN [A-Z ]*PRIVATE KEY-----$/);
  const [made, imported, again] = seen.fingerprints;
  for (const fingerprint of [made, imported]) assert.match(fingerprint, /^([0-9a-f]{2}:){15}[0-9a-f]{2}$/);
  assert.equal(made, again);
  assert.deepEqual(seen.listed, [
    ['made', made],
    ['imported', imported],
  ]);
  assert.deepEqual(seen.left, ['made']);
  assert.deepEqual(seen.deleted, { kind: 'no key pair', text: 'imported' });
  assert.deepEqual([seen.twice.kind, seen.twice.status], ['provider', 431]);
  assert.match(seen.twice.text, /already exists/);
}

/** What every encoding of values treats differently. */
const ODD = "a+b & c/d=é*~(x)!' [1] 100% ünï, 日本";

async function libcloudLife(world: World) {
  const { zone, libcloud } = world;
  const { cloud, list, call } = zone;
  const userData = `#!/bin/sh\necho "${ODD}"\n`;
  const deployed = await withLibcloud(world, 'deploy', {
    location: 'Sandbox-simulator',
    networkOffering: 'DefaultIsolatedNetworkOfferingWithSourceNatService',
    network: 'libcloud-net',
    displayText: ODD,
    name: 'libcloud-1',
    size: 'Small Instance',
    image: TEMPLATE_NAME,
    address: '10.1.1.77',
    userData,
  });
  const node = {
    id: deployed.made.id,
    name: 'libcloud-1',
    state: 'running',
    addresses: ['10.1.1.77'],
    image: TEMPLATE_NAME,
    size: 'Small Instance',
    zone: 'Sandbox-simulator',
  };
  assert.deepEqual(deployed.made, node);
  const { id } = node;
  assert.deepEqual(deployed.networks, [[deployed.network, 'libcloud-net', 'Implemented']]);
  const [machine] = await list('listVirtualMachines', { id, userdata: true });
  assert.deepEqual(
    [machine.displayname, Buffer.from(machine.userdata, 'base64').toString(), machine.keypairs, machine.account],
    [ODD, userData, 'made', 'libcloud'],
  );
  assert.equal(cloud.hosts.get(machine.hostid)?.specOf(id)?.memoryMib, 512);

  const seen = await withLibcloud(world, 'look', { id });
  assert.deepEqual(seen.node, node);
  assert.deepEqual([seen.nodes, seen.inZone], [[node], [id]]);
  const [volume] = await libcloud.client.list('listVolumes', { virtualmachineid: id });
  assert.deepEqual(seen.volumes, [[volume.name, 2 ** 30, 'inuse', id]]);
  assert.equal(seen.volume, true);
  assert.deepEqual(seen.nics, [[deployed.network, '10.1.1.77', '255.255.255.0', '10.1.1.1', true]]);
  const [router] = await list('listRouters', { networkid: deployed.network, listall: true });
  assert.deepEqual(seen.publicAddresses, [[router.publicip, deployed.network]]);

  assert.deepEqual(await withLibcloud(world, 'operate', { id }), [true, 'running', 'Stopped', 'stopped', 'Running', 'running']);

  const idle = await withLibcloud(world, 'without_start', { name: 'libcloud-2', size: 'Medium Instance', image: TEMPLATE_NAME });
  assert.deepEqual([idle.name, idle.state, idle.size], ['libcloud-2', 'stopped', 'Medium Instance']);

  const { serviceoffering } = await call('createServiceOffering', {
    name: 'Too large',
    displaytext: 'Too large',
    cpunumber: 1,
    cpuspeed: 500,
    memory: 1_000_000,
  });
  const foreign = (await zone.deploy({ name: 'foreign', startvm: false })).id;
  const unknown = randomUUID();
  const refused = await withLibcloud(world, 'refused', { id, unknown, foreign, tooLarge: 'Too large', image: TEMPLATE_NAME });
  await call('deleteServiceOffering', { id: serviceoffering.id });
  for (const [what, which] of [
    ['unknown', unknown],
    ['foreign', foreign],
  ] as const) {
    assert.deepEqual([refused[what].kind, refused[what].status], ['provider', 431]);
    assert.ok(refused[what].text.includes(`Invalid parameter id value=${which}`), refused[what].text);
  }
  assert.deepEqual([refused.name.kind, refused.name.status], ['provider', 431]);
  assert.deepEqual([refused.state.kind, refused.state.status], ['provider', 431]);
  // The job fails, and its text is what is raised; which words there are is for administrators alone.
  assert.equal(refused.room.kind, 'Exception');
  assert.match(refused.room.text, /administrator/);

  const expunge = { id, expunge: true };
  assert.deepEqual([(await withLibcloud(world, 'refused_destroy', expunge)).status, (await zone.vm(id)).state], [531, 'Running']);
  assert.equal(await withLibcloud(world, 'destroy', { id, expunge: false }), true);
  assert.equal((await zone.vm(id)).state, 'Destroyed');
  await zone.settings({ 'allow.user.expunge.recover.vm': 'true' });
  for (const each of await list('listVirtualMachines', { account: 'libcloud', domainid: machine.domainid }))
    assert.equal(await withLibcloud(world, 'destroy', { id: each.id, expunge: true }), true);
  assert.deepEqual(await list('listVirtualMachines', { listall: true, account: 'libcloud', domainid: machine.domainid }), []);
  const [deleted, left] = await withLibcloud(world, 'delete_network', { id: deployed.network });
  assert.equal(deleted, true);
  assert.ok(!left.includes(deployed.network));
  await zone.run('destroyVirtualMachine', { id: foreign, expunge: true });
}

async function libcloudIso(world: World) {
  const made = await withLibcloud(world, 'register_iso', { from: 'http://images.simulated.example/rescue.iso' });
  assert.deepEqual(made, [['rescue', true, true]]);
  const [iso] = await world.libcloud.client.list('listIsos', { isofilter: 'self' });
  assert.deepEqual([iso.name, iso.bootable], ['rescue', true]);
}

type Call = readonly [command: string, params?: object];
async function withCs(
  { zone, cs }: World,
  calls: readonly Call[],
  connection: object = {},
  { asynchronous = false } = {},
): Promise<Raised[]> {
  return script('with-cs.py', [], {
    asynchronous,
    calls: calls.map(([command, params = {}]) => [command, params]),
    connection: { endpoint: zone.cloud.url, key: cs.keys.apiKey, secret: cs.keys.secretKey, poll_interval: 0.2, ...connection },
  });
}
const values = (results: readonly Raised[]): Reply[] =>
  results.map(({ value, ...others }) => {
    assert.deepEqual(others, {});
    return value;
  });

async function csSignatures(world: World) {
  for (const method of ['get', 'post']) {
    for (const expiration of [600, -1]) {
      const [zones, none, text] = values(
        await withCs(
          world,
          [
            ['listZones', { available: true }],
            ['listVirtualMachines', { keyword: ODD, apple: 1, Zebra: 'z', apiZebra: ['a', 'b'] }],
            ['listZones', { json: false }],
          ],
          { method, expiration },
        ),
      );
      assert.deepEqual([zones.count, zones.zone[0].name, none], [1, 'Sandbox-simulator', {}]);
      assert.match(text, /^<\?xml .*<listzonesresponse cloud-stack-version="4\.22\.0\.0"><count>1<\/count><zone>/);
    }
  }
  const past = { expires: '2020-01-01T00:00:00+0000' };
  const [late, ignored, missing, unknown, forbidden] = await withCs(world, [
    ['listZones', { ...past, signatureVersion: '3' }],
    ['listZones', past],
    ['createNetwork', { name: 'x' }],
    ['listVirtualMachines', { id: randomUUID() }],
    ['createZone', { name: 'x' }],
  ]);
  assert.equal(ignored?.value.count, 1, 'without version 3 the time is of no meaning');
  const [stranger] = await withCs(world, [['listZones']], { secret: 'wrong' });
  for (const each of [late, stranger]) {
    assert.deepEqual([each?.raised, each?.status, each?.words], ['CloudStackApiException', 401, 'HTTP 401 response from CloudStack']);
    assert.deepEqual(each?.error, {
      uuidList: [],
      errorcode: 401,
      errortext: 'unable to verify user credentials and/or request signature',
    });
  }
  for (const [each, code, number, text] of [
    [missing, 431, 9999, /^Unable to execute API command createnetwork due to missing parameter networkofferingid$/],
    [unknown, 431, 9999, /Invalid parameter id value=/],
    [forbidden, 432, 4555, /^The API \[createZone\] does not exist or is not available for the account Account \[cs\]$/],
  ] as const) {
    assert.deepEqual(
      [each?.raised, each?.status, each?.error.errorcode, each?.error.cserrorcode],
      ['CloudStackApiException', code, code, number],
    );
    assert.match(each?.error.errortext, text);
  }
}

async function csLists(world: World) {
  const whole = await world.cs.client.list('listOsTypes');
  const names = whole.map(({ id }) => id);
  assert.ok(names.length > 40);
  for (const asynchronous of [false, true]) {
    // The last page of seven is a part, that of all is full; the asynchronous client asks on until a page is empty.
    const results = values(
      await withCs(
        world,
        [
          ['listOsTypes', { fetch_list: true, pagesize: 7 }],
          ['listOsTypes', { fetch_list: true, pagesize: names.length }],
          ['listOsTypes', { fetch_list: true }],
          ['listVirtualMachines', { fetch_list: true, keyword: 'nothing like it' }],
        ],
        {},
        { asynchronous },
      ),
    );
    assert.deepEqual(
      results.map((items: Reply[]) => items.map(({ id }) => id)),
      [names, names, names, []],
    );
  }
}

async function csLife(world: World) {
  const { zone, cs } = world;
  const [made] = values(
    await withCs(world, [
      ['createNetwork', { zoneid: zone.zoneId, networkofferingid: zone.networkOfferingId, name: 'cs-net', displaytext: ODD }],
    ]),
  );
  const networkid: string = made.network.id;
  assert.deepEqual([made.network.displaytext, made.network.account], [ODD, 'cs']);
  // Longer than any header may be, so it goes by POST.
  const userdata = Buffer.from('x'.repeat(20_000)).toString('base64');
  const [job, refused] = await withCs(
    world,
    [
      ['deployVirtualMachine', { ...zone.usual, name: 'cs-1', iptonetworklist: [{ networkid, ip: '10.1.1.88' }], userdata }],
      ['deployVirtualMachine', { ...zone.usual, name: 'cs-2', networkids: [networkid], ipaddress: '10.9.9.9' }],
    ],
    { method: 'post' },
  );
  assert.equal(refused?.status, 431, 'the address is not in the network');
  assert.deepEqual(Object.keys(job?.value).sort(), ['id', 'jobid']);
  const id: string = job?.value.id;
  const { virtualmachine } = await cs.client.job('deployVirtualMachine', job?.value.jobid);
  assert.deepEqual([virtualmachine.id, virtualmachine.state, virtualmachine.nic[0].ipaddress], [id, 'Running', '10.1.1.88']);

  const [stopped, again, started, failed, listed] = await withCs(world, [
    ['stopVirtualMachine', { id, forced: true, fetch_result: true }],
    ['stopVirtualMachine', { id, fetch_result: true }],
    ['startVirtualMachine', { id, fetch_result: true }],
    ['startVirtualMachine', { id, fetch_result: true }],
    ['listVirtualMachines', { ids: [id], details: ['nics'], userdata: true }],
  ]);
  for (const [each, state] of [
    [stopped, 'Stopped'],
    [again, 'Stopped'],
    [started, 'Running'],
  ] as const)
    assert.deepEqual([Object.keys(each?.value), each?.value.virtualmachine.state], [['virtualmachine'], state]);
  assert.deepEqual([failed?.raised, failed?.status], ['CloudStackApiException', 431]);
  assert.deepEqual([listed?.value.count, listed?.value.virtualmachine[0].userdata], [1, userdata]);

  const { serviceoffering } = await zone.call('createServiceOffering', {
    name: 'Too large for cs',
    displaytext: 'Too large for cs',
    cpunumber: 1,
    cpuspeed: 500,
    memory: 1_000_000,
  });
  const [short, destroyed, gone] = await withCs(world, [
    [
      'deployVirtualMachine',
      { ...zone.usual, name: 'cs-3', networkids: [networkid], serviceofferingid: serviceoffering.id, fetch_result: true },
    ],
    ['destroyVirtualMachine', { id, expunge: true, fetch_result: true }],
    ['listVirtualMachines', { id }],
  ]);
  await zone.call('deleteServiceOffering', { id: serviceoffering.id });
  assert.deepEqual([short?.raised, short?.words, short?.status], ['CloudStackApiException', 'Job failure', 200]);
  assert.deepEqual(Object.keys(short?.error).sort(), ['errorcode', 'errortext']);
  assert.equal(short?.error.errorcode, 533);
  assert.equal(destroyed?.value.virtualmachine.id, id);
  assert.deepEqual(gone?.value, {}, 'what was removed is an empty list, not an error');
  // What could not be started is there in its state Error, with its reason in an event.
  const [left] = await cs.client.list('listVirtualMachines', { state: 'Error' });
  assert.equal(left.name, 'cs-3');
  await cs.client.run('destroyVirtualMachine', { id: left.id, expunge: true });
}

async function csAtOnce(world: World) {
  const { zone, cs } = world;
  const [network] = await cs.client.list('listNetworks', { keyword: 'cs-net' });
  const deployed = values(
    await withCs(
      world,
      [1, 2, 3].map((number) => [
        'deployVirtualMachine',
        { ...zone.usual, name: `cs-at-once-${number}`, networkids: network.id, fetch_result: true },
      ]),
      {},
      { asynchronous: true },
    ),
  ).map(({ virtualmachine }) => virtualmachine);
  assert.deepEqual(
    deployed.map(({ name, state }) => [name, state]),
    [1, 2, 3].map((number) => [`cs-at-once-${number}`, 'Running']),
  );
  assert.equal(new Set(deployed.map(({ nic }) => nic[0].ipaddress)).size, 3);
  const [, failed] = await withCs(
    world,
    [
      ['destroyVirtualMachine', { id: deployed[0].id, expunge: true, fetch_result: true }],
      ['destroyVirtualMachine', { id: randomUUID(), expunge: true, fetch_result: true }],
      ['destroyVirtualMachine', { id: deployed[1].id, expunge: true, fetch_result: true }],
      ['destroyVirtualMachine', { id: deployed[2].id, expunge: true, fetch_result: true }],
    ],
    {},
    { asynchronous: true },
  );
  assert.deepEqual([failed?.raised, failed?.error.errorcode], ['CloudStackApiException', 431]);
  assert.deepEqual(await cs.client.list('listVirtualMachines'), []);
}

async function csProgram({ zone, cs }: World) {
  const home = await mkdtemp(join(tmpdir(), 'nephos-cs-'));
  try {
    const settings = {
      endpoint: zone.cloud.url,
      key: cs.keys.apiKey,
      secret: cs.keys.secretKey,
      timeout: '20',
      poll_interval: '0.2',
    };
    const inEnvironment = Object.fromEntries(Object.entries(settings).map(([name, value]) => [`CLOUDSTACK_${name.toUpperCase()}`, value]));
    const lines = (all: object): string =>
      Object.entries(all)
        .map(([name, value]) => `${name} = ${value}\n`)
        .join('');
    await writeFile(
      join(home, '.cloudstack.ini'),
      `[cloudstack]\n${lines(settings)}\n[stranger]\n${lines({ ...settings, secret: 'wrong', method: 'post' })}`,
      { mode: 0o600 },
    );
    const cli = async (args: readonly string[], environment: Readonly<Record<string, string>> = {}) => {
      const { stdout, stderr } = await program('cs', args, { HOME: home, ...environment });
      return { shown: parsed(stdout, 'cs'), stderr };
    };
    const zones = [
      await cli(['listZones', 'name=Sandbox-simulator'], { ...inEnvironment, HOME: '/nonexistent' }),
      await cli(['listZones']),
    ];
    for (const { shown, stderr } of zones) assert.deepEqual([shown.count, shown.zone[0].id, stderr], [1, zone.zoneId, '']);

    const [network] = await cs.client.list('listNetworks', { keyword: 'cs-net' });
    const { zoneid, templateid, serviceofferingid } = zone.usual;
    const deployed = await cli([
      '--post',
      'deployVirtualMachine',
      `zoneid=${zoneid}`,
      `templateid=${templateid}`,
      `serviceofferingid=${serviceofferingid}`,
      `networkids=${network.id}`,
      'name=cs-program',
      `displayname=${ODD}`,
    ]);
    const { virtualmachine } = deployed.shown;
    assert.deepEqual([virtualmachine.state, virtualmachine.displayname], ['Running', ODD]);
    const { shown: listed } = await cli(['listVirtualMachines', `ids=${virtualmachine.id}`, `ids=${virtualmachine.id}`]);
    assert.deepEqual([listed.count, listed.virtualmachine[0].name], [1, 'cs-program']);

    const unknown = await cli(['listVirtualMachines', `id=${randomUUID()}`]);
    assert.equal(unknown.stderr, 'CloudStack error: HTTP 431 response from CloudStack\n');
    assert.equal(unknown.shown.listvirtualmachinesresponse.errorcode, 431);
    const stranger = await cli(['--quiet', '--region', 'stranger', 'listZones']);
    assert.deepEqual([stranger.stderr, stranger.shown.listzonesresponse.errorcode], ['', 401]);

    const { shown: job } = await cli(['--async', 'destroyVirtualMachine', `id=${virtualmachine.id}`, 'expunge=true']);
    await cs.client.job('destroyVirtualMachine', job.jobid);
    assert.deepEqual(await cs.client.list('listVirtualMachines'), []);
    const { shown: deleted } = await cli(['deleteNetwork', `id=${network.id}`]);
    assert.deepEqual(deleted, { success: true });
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

/** Test suites of other clients look for these by name, as the administrator. */
async function simulatorNames(world: World) {
  const { adminKeys } = world.zone.cloud;
  const all = { listall: true };
  const calls = {
    zone: ['listZones', all],
    pod: ['listPods', all],
    cluster: ['listClusters', all],
    host: ['listHosts', { type: 'Routing' }],
    storagepool: ['listStoragePools', all],
    imagestore: ['listImageStores', {}],
    hypervisor: ['listHypervisors', {}],
    template: ['listTemplates', { templatefilter: 'featured' }],
    serviceoffering: ['listServiceOfferings', {}],
    diskoffering: ['listDiskOfferings', {}],
    networkoffering: ['listNetworkOfferings', { state: 'Enabled' }],
  } as const satisfies Record<string, Call>;
  const results = values(await withCs(world, Object.values(calls), { key: adminKeys.apiKey, secret: adminKeys.secretKey }));
  const found = Object.fromEntries(Object.keys(calls).map((key, index): [string, Reply[]] => [key, results[index][key]]));
  const columns = (key: keyof typeof calls, ...names: readonly string[]) =>
    (found[key] ?? []).map((item) => names.map((name) => item[name])).sort();
  assert.deepEqual(columns('zone', 'name', 'networktype', 'allocationstate'), [['Sandbox-simulator', 'Advanced', 'Enabled']]);
  assert.deepEqual(columns('pod', 'name'), [['POD0']]);
  assert.deepEqual(columns('cluster', 'name', 'hypervisortype'), [
    ['C0', 'Simulator'],
    ['C1', 'Simulator'],
  ]);
  assert.deepEqual(
    columns('host', 'clustername', 'state', 'hypervisor'),
    ['C0', 'C0', 'C1', 'C1'].map((name) => [name, 'Up', 'Simulator']),
  );
  assert.deepEqual(
    columns('storagepool', 'name', 'state'),
    simulatorPlan().clusters.flatMap(({ primary }) => primary.map(({ name }) => [name, 'Up'])),
  );
  assert.deepEqual(columns('imagestore', 'protocol'), [['nfs']]);
  assert.ok(columns('hypervisor', 'name').flat().includes('Simulator'));
  assert.deepEqual(columns('template', 'name', 'isready', 'hypervisor'), [[TEMPLATE_NAME, true, 'Simulator']]);
  assert.deepEqual(columns('serviceoffering', 'name', 'cpunumber', 'cpuspeed', 'memory'), [
    ['Medium Instance', 1, 1000, 1024],
    ['Small Instance', 1, 500, 512],
  ]);
  assert.deepEqual(columns('diskoffering', 'name').flat(), ['Custom', 'Large', 'Medium', 'Small']);
  assert.deepEqual(columns('networkoffering', 'name').flat(), [
    'DefaultIsolatedNetworkOffering',
    'DefaultIsolatedNetworkOfferingWithSourceNatService',
  ]);
}

async function secondZone(world: World) {
  const { admin } = world.zone.cloud;
  const name = 'Sandbox-simulator-advanced';
  const made = await ensureSimulatorZone(admin, simulatorPlan(knownZones.get(name), 1, name));
  const again = await ensureSimulatorZone(admin, simulatorPlan(knownZones.get(name), 1, name));
  assert.deepEqual(again, made, 'what is there is taken as it is');
  const { zoneId: zoneid } = made;
  const [zones, templates] = values(await withCs(world, [['listZones'], ['listTemplates', { templatefilter: 'featured', zoneid }]]));
  assert.deepEqual(zones.zone.map((each: Reply) => each.name).sort(), ['Sandbox-simulator', name]);
  const [template] = templates.template;
  assert.deepEqual([template.name, template.zonename], [TEMPLATE_NAME, name]);
  const wanted = { ...world.zone.usual, zoneid, templateid: template.id, name: 'elsewhere', fetch_result: true };
  const [{ virtualmachine }] = values(await withCs(world, [['deployVirtualMachine', wanted]]));
  assert.deepEqual([virtualmachine.state, virtualmachine.zonename], ['Running', name]);
  const end: Call = ['destroyVirtualMachine', { id: virtualmachine.id, expunge: true, fetch_result: true }];
  assert.equal(values(await withCs(world, [end]))[0].virtualmachine.id, virtualmachine.id);
}
