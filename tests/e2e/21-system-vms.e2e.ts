/** System VMs as they really run: made by themselves, told apart by their kind alone, closed, and replaced when they are destroyed. */
import assert from 'node:assert/strict';
import { createReadStream } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Client, eventually, type Reply } from '../../lab/client.ts';
import { command } from '../../lab/command.ts';
import { pathsOf } from '../../lab/installation.ts';
import { inNamespace } from '../../lab/lab.ts';
import { topology } from '../../lab/topology.ts';
import { checkSystemVmTemplate } from '../../templates/check.ts';
import {
  capture,
  cloudKeyFile,
  domainsOf,
  forgetCloudKey,
  hostNames,
  inSystemVm,
  onHost,
  type RealCloud,
  realCloud,
  routerOf,
  serialLog,
  station,
  vmOf,
  vniOf,
} from './cloud.ts';
import { portOpenFrom, tapOf } from './inside.ts';

let cloud: RealCloud;
let admin: Client;
let scratch: string;

const one = async (systemvmtype: 'consoleproxy' | 'secondarystoragevm'): Promise<Reply> => {
  const found = await admin.list('listSystemVms', { systemvmtype });
  assert.equal(found.length, 1, `one ${systemvmtype}: ${JSON.stringify(found.map(({ name, state }) => [name, state]))}`);
  return found[0];
};
const consoleProxy = () => one('consoleproxy');
const secondaryStorage = () => one('secondarystoragevm');
const router = () => routerOf(cloud, cloud.networkId);
const allKinds = () => Promise.all([consoleProxy(), secondaryStorage(), router()]);
const brief = { timeoutSeconds: 60 };

before(
  async () => {
    cloud = await realCloud();
    admin = cloud.admin;
    scratch = await mkdtemp(join(tmpdir(), 'nephos-system-vms-'));
  },
  { timeout: 480_000 },
);
after(async () => {
  if (scratch) await rm(scratch, { recursive: true, force: true });
});

test('CP-03 SS-02 a zone has one console proxy and one secondary storage VM, and nobody asked for them', { timeout: 60_000 }, async () => {
  for (const vm of [await consoleProxy(), await secondaryStorage()]) {
    assert.equal(vm.state, 'Running');
    assert.equal(vm.agentstate, 'Up');
  }
  const running = (await Promise.all(hostNames.map(domainsOf))).flat();
  assert.equal(running.filter((name) => name.startsWith('v-')).length, 1, String(running));
  assert.equal(running.filter((name) => name.startsWith('s-')).length, 1, String(running));
});

test('SV-22 NICs and default route are those of the kind', { timeout: 120_000 }, async () => {
  const [proxy, storage, network] = await allKinds();
  const guestBridge = `brvx-${await vniOf(cloud, cloud.networkId)}`;
  const control = (vm: Reply) => [vm.linklocalmacaddress, 'cloud0', vm.linklocalip];
  const open = (vm: Reply) => [vm.publicmacaddress, topology.hostBridges.public, vm.publicip];
  const management = (vm: Reply) => [vm.privatemacaddress, topology.hostBridges.management, vm.privateip];
  const expected: [Reply, (string | undefined)[][]][] = [
    [proxy, [control(proxy), management(proxy), open(proxy)]],
    [storage, [control(storage), management(storage), open(storage), [undefined, topology.hostBridges.storage, undefined]]],
    [network, [[network.guestmacaddress, guestBridge, network.guestipaddress], control(network), open(network)]],
  ];
  for (const [vm, nics] of expected) {
    const links: Reply[] = JSON.parse(await inSystemVm(cloud, vm, 'ip -json address'));
    const plugged = await onHost(vm.hostname, 'virsh', '-q', 'domiflist', '--', vm.name);
    const devices = links.filter(({ ifname }) => ifname !== 'lo');
    assert.deepEqual(
      devices.map(({ ifname }) => ifname).sort(),
      nics.map((_nic, index) => `eth${index}`),
      vm.name,
    );
    for (const [index, [mac, bridge, address]] of nics.entries()) {
      const device = devices.find(({ ifname }) => ifname === `eth${index}`);
      const about = `${vm.name} eth${index}`;
      if (mac !== undefined) assert.equal(device.address, mac, about);
      const line = plugged.split('\n').find((each) => each.includes(device.address)) ?? '';
      assert.equal(line.trim().split(/\s+/)[2], bridge, about);
      const own = device.addr_info.find(({ family }: Reply) => family === 'inet').local;
      if (address !== undefined) assert.equal(own, address, about);
      else assert.match(own, /^198\.18\.1\./, about);
    }
    const routes = (await inSystemVm(cloud, vm, 'ip route show default')).trim().split('\n');
    assert.equal(routes.length, 1, vm.name);
    assert.match(routes[0] ?? '', new RegExp(`^default via ${topology.internet.address} dev eth2\\b`), vm.name);
  }
});

test('SV-22 packets of NFS pass on the storage NIC and on no other', { timeout: 120_000 }, async () => {
  const storage = await secondaryStorage();
  const links: Reply[] = JSON.parse(await inSystemVm(cloud, storage, 'ip -json link'));
  const macOf = (device: string): string => links.find(({ ifname }) => ifname === device).address;
  const watches = await Promise.all(
    ['eth0', 'eth1', 'eth2', 'eth3'].map(async (device) => ({
      device,
      watch: await capture(storage.hostname, await tapOf(storage.hostname, storage.name, macOf(device)), 'port 2049 or port 111'),
    })),
  );
  await inSystemVm(
    cloud,
    storage,
    'cd /run/nephos/stores/*/ && dd if=/dev/zero of=.e2e-probe bs=64k count=4 conv=fsync status=none && rm .e2e-probe',
  );
  const seen = Object.fromEntries(
    await Promise.all(
      watches.map(async ({ device, watch }) => [device, (await watch.stop()).filter((line) => line.includes(' > ')).length]),
    ),
  );
  assert.ok(seen['eth3'] > 4, JSON.stringify(seen));
  assert.deepEqual([seen['eth0'], seen['eth1'], seen['eth2']], [0, 0, 0], JSON.stringify(seen));
});

test('SV-09 ssh answers on 3922 of the control network to the cloud’s key alone', { timeout: 180_000 }, async () => {
  const [proxy, storage, network] = await allKinds();
  for (const vm of [proxy, storage, network]) {
    assert.equal((await inSystemVm(cloud, vm, 'cat /proc/sys/kernel/hostname')).trim(), vm.name);
    assert.ok(await portOpenFrom(vm.hostname, vm.linklocalip, 3922), `${vm.name}: open on control`);
    assert.ok(!(await portOpenFrom(vm.hostname, vm.linklocalip, 22)), `${vm.name}: 22 on control`);
  }
  const other = join(scratch, 'other-key');
  await command('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', other], brief);
  const usual = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'ConnectTimeout=15'].flatMap((option) => ['-o', option]);
  const login = (vm: Reply, options: readonly string[]) =>
    inNamespace(vm.hostname, 'ssh', [...usual, ...options, '-p', '3922', `root@${vm.linklocalip}`, 'true'], {
      ...brief,
      acceptedCodes: [255],
      environment: { SSH_ASKPASS: '/bin/echo', SSH_ASKPASS_REQUIRE: 'force' },
    });
  for (const vm of [proxy, network]) {
    const byKey = await login(vm, ['-o', 'IdentitiesOnly=yes', '-o', 'BatchMode=yes', '-i', other]);
    assert.match(byKey.stderr, /Permission denied \(publickey\)/, vm.name);
    const byPassword = await login(vm, ['-o', 'PubkeyAuthentication=no', '-o', 'PreferredAuthentications=password,keyboard-interactive']);
    // It names the one way that there is: a password is not even asked for.
    assert.match(byPassword.stderr, /Permission denied \(publickey\)/, vm.name);
  }

  // Each place is shown to reach the machine at all, by a port that is open there.
  const closed = async (namespace: string, address: string, openPort: number | null, about: string): Promise<void> => {
    if (openPort !== null) assert.ok(await portOpenFrom(namespace, address, openPort), `${about}: ${openPort} is open`);
    const found = await Promise.all([22, 3922].map((port) => portOpenFrom(namespace, address, port)));
    assert.deepEqual(found, [false, false], `${about}: 22 and 3922 are closed`);
  };
  const storageAddress = /inet (198\.18\.1\.\d+)/.exec(await inSystemVm(cloud, storage, 'ip -4 address show dev eth3'))?.[1] ?? '';
  await Promise.all([
    closed(topology.internet.name, proxy.publicip, 80, 'console proxy from public'),
    closed(topology.internet.name, storage.publicip, null, 'secondary storage from public'),
    closed(topology.internet.name, network.publicip, null, 'router from public'),
    closed(proxy.hostname, proxy.privateip, 80, 'console proxy from management'),
    closed(storage.hostname, storage.privateip, 8210, 'secondary storage from management'),
    closed(topology.nfs.name, storageAddress, 8210, 'secondary storage from storage'),
  ]);
  const guest = await station(network.hostname, await vniOf(cloud, cloud.networkId), '10.1.1.251');
  try {
    await closed(guest.namespace, network.guestipaddress, 53, 'router from its guests');
  } finally {
    await guest.remove();
  }
});

const askLink = (options: { cert?: string; key?: string; upgrade: boolean }): Promise<{ status: number; words: string }> =>
  new Promise((resolve) => {
    const { upgrade, ...identity } = options;
    const headers = upgrade
      ? { connection: 'upgrade', upgrade: 'websocket', 'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==', 'sec-websocket-version': '13' }
      : {};
    const asked = request({
      host: topology.machine.management.address,
      port: 8250,
      path: upgrade ? '/link' : '/files/systemvm.iso',
      headers,
      ...identity,
      // Whoever has no business there does not know the cloud's authority either.
      rejectUnauthorized: false,
      timeout: 10_000,
    });
    asked.on('upgrade', (_response, socket) => {
      socket.destroy();
      resolve({ status: 101, words: '' });
    });
    asked.on('response', (response) => {
      let words = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        words += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, words }));
    });
    asked.on('error', (error) => resolve({ status: 0, words: error.message }));
    asked.end();
  });

test('SV-19 agents dial out from their management NIC, and nobody without a certificate of the cloud is let in', {
  timeout: 120_000,
}, async () => {
  const [proxy, storage, network] = await allKinds();
  for (const vm of [proxy, storage]) {
    const connections = await inSystemVm(cloud, vm, 'ss -Htn state established; ss -Htln');
    assert.match(
      connections,
      new RegExp(`${vm.privateip.replaceAll('.', '\\.')}:\\d+\\s+${topology.machine.management.address}:8250`),
      vm.name,
    );
    assert.doesNotMatch(connections, /:8250\s+0\.0\.0\.0/, 'nothing listens there');
    assert.match(await inSystemVm(cloud, vm, `ip route get ${topology.machine.management.address}`), / dev eth1 /);
  }
  // A router has no leg on management: it dials the relay of its host.
  assert.match(await inSystemVm(cloud, network, 'ss -Htn state established'), /169\.254\.\d+\.\d+:\d+\s+169\.254\.0\.1:8250/);

  for (const upgrade of [true, false]) {
    const { status, words } = await askLink({ upgrade });
    assert.equal(status, 403, words);
    assert.match(words, /certificate is needed/);
  }
  const [key, cert] = [join(scratch, 'forged.key'), join(scratch, 'forged.crt')];
  await command(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', `/CN=${proxy.id}`],
      ...['-addext', `subjectAltName=URI:nephos://console-proxy/${proxy.id}`, '-keyout', key, '-out', cert],
    ],
    brief,
  );
  const forged = await askLink({ upgrade: true, key: await readFile(key, 'utf8'), cert: await readFile(cert, 'utf8') });
  assert.equal(forged.status, 403, forged.words);
  await eventually(
    'the forged certificate is alerted of',
    async () => (await admin.list('listAlerts', { keyword: 'certificate' })).find(({ description }) => description.includes(proxy.id)),
    { timeoutSeconds: 20, everyMs: 500 },
  );
  assert.equal((await consoleProxy()).agentstate, 'Up', 'the real one stays');
});

test('SV-01 a system VM takes exactly its offering from its host, and nothing from any account', { timeout: 240_000 }, async () => {
  const before = await consoleProxy();
  const hostOf = async (id: string): Promise<Reply> => (await admin.list('listHosts', { id }))[0];
  const counts = ['vmtotal', 'cputotal', 'memorytotal', 'iptotal', 'volumetotal', 'primarystoragetotal'];
  const accounts = async () =>
    (await admin.list('listAccounts', { listall: true }))
      .filter(({ name }) => ['admin', 'demo'].includes(name))
      .map((account) => [account.name, ...counts.map((count) => account[count])])
      .sort();
  const [offering] = await admin.list('listServiceOfferings', { issystem: true, id: before.serviceofferingid });
  const [full, counted] = [await hostOf(before.hostid), await accounts()];
  await admin.run('stopSystemVm', { id: before.id }, { timeoutSeconds: 120, pollMs: 300 });
  const [empty, without] = [await hostOf(before.hostid), await accounts()];
  const { systemvm } = await admin.run('startSystemVm', { id: before.id }, { timeoutSeconds: 180, pollMs: 300 });
  // What follows looks into it again.
  await sshOpen(systemvm);
  const [again, restarted] = [await hostOf(systemvm.hostid), await accounts()];
  assert.equal(full.memoryallocatedbytes - empty.memoryallocatedbytes, offering.memory * 2 ** 20);
  assert.equal(full.cpuallocatedvalue - empty.cpuallocatedvalue, offering.cpunumber * offering.cpuspeed);
  if (systemvm.hostid === before.hostid) assert.equal(again.memoryallocatedbytes, full.memoryallocatedbytes);
  assert.equal(counted.length, 2);
  assert.deepEqual(without, counted);
  assert.deepEqual(restarted, counted);
  const [domain] = (await onHost(systemvm.hostname, 'virsh', 'dumpxml', '--', systemvm.name)).match(/<memory unit='KiB'>\d+/) ?? [];
  assert.equal(domain, `<memory unit='KiB'>${offering.memory * 1024}`, 'what is promised is what it has');
  assert.equal((await consoleProxy()).id, before.id, 'nobody made another one meanwhile');
});

/** Its agent is up a moment before its sshd. */
const sshOpen = (vm: Reply) =>
  eventually(`ssh of ${vm.name}`, () => portOpenFrom(vm.hostname, vm.linklocalip, 3922), { timeoutSeconds: 60, everyMs: 300 });

/** The file of a machine's root disk on its host. */
const rootOf = async (vm: Reply): Promise<string> => {
  const blocks = await onHost(vm.hostname, 'virsh', '-q', 'domblklist', '--', vm.name);
  const root = /^\s*vda\s+(\S+)/m.exec(blocks)?.[1];
  assert.ok(root, blocks);
  return root;
};

interface Seen {
  readonly states: Set<string>;
}
/** What the API says of the successor of a system VM while it comes, until it is there. */
async function successor(list: () => Promise<Reply[]>, oldId: string, seen: Seen): Promise<Reply> {
  return eventually(
    'the successor runs',
    async () => {
      const found = (await list()).filter(({ id }) => id !== oldId);
      assert.ok(found.length <= 1, 'never two');
      const [vm] = found;
      if (!vm) return null;
      seen.states.add(`${vm.state}/${vm.agentstate ?? ''}`);
      return vm.state === 'Running' ? vm : null;
    },
    { timeoutSeconds: 240, everyMs: 200 },
  );
}

const serviceState = async (vm: Reply): Promise<string> => {
  const text = await inSystemVm(
    cloud,
    vm,
    'nft -s list ruleset; cat /run/nephos/router/*hosts /run/nephos/router/dnsmasq.conf 2>/dev/null || true',
  );
  // Control and management addresses are of the machine itself, and its successor has its own.
  return text.replaceAll(vm.linklocalip, 'CONTROL').replaceAll(vm.privateip ?? 'no address', 'MANAGEMENT');
};

test('SV-16 the key of the cloud is changed while everything runs: the new one opens every system VM, and the old one none', {
  timeout: 180_000,
}, async () => {
  const all = await allKinds();
  const old = await cloudKeyFile(cloud.varDir);
  const { cloudsshkey: made } = await admin.call('rotateCloudSshKey', {});
  await eventually(
    'every system VM has been told of the new key',
    async () => {
      const [key] = await admin.list('listCloudSshKeys');
      return key.fingerprint === made.fingerprint && key.systemvms >= all.length && key.pending === 0;
    },
    { timeoutSeconds: 60, everyMs: 300 },
  );
  forgetCloudKey();
  const options = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'ConnectTimeout=15', 'IdentitiesOnly=yes', 'BatchMode=yes'];
  for (const vm of all) {
    assert.equal((await inSystemVm(cloud, vm, 'cat /proc/sys/kernel/hostname')).trim(), vm.name, 'the new key');
    const refused = await inNamespace(
      vm.hostname,
      'ssh',
      [...options.flatMap((option) => ['-o', option]), '-i', old, '-p', '3922', `root@${vm.linklocalip}`, 'true'],
      { ...brief, acceptedCodes: [255] },
    );
    assert.match(refused.stderr, /Permission denied \(publickey\)/, vm.name);
  }
});

test('SV-05 SV-14 SV-19 CP-03 SS-02 destroyed system VMs leave nothing, and their successors are others that do the same', {
  timeout: 420_000,
}, async () => {
  const before = await allKinds();
  const [proxy, storage, network] = before;
  const MARK = '/root/e2e-marker /etc/e2e-marker';
  const stateBefore = await Promise.all(before.map(serviceState));
  const keys = await Promise.all(before.map((vm) => inSystemVm(cloud, vm, `touch ${MARK} && sync && cat /run/nephos/ssh/host_key.pub`)));
  const rootsBefore = await Promise.all(before.map(rootOf));

  const seen = { states: new Set<string>() };
  const systemVms = (systemvmtype: string) => () => admin.list('listSystemVms', { systemvmtype });
  const destroyed = Promise.all([
    admin.run('destroySystemVm', { id: proxy.id }, { timeoutSeconds: 120, pollMs: 300 }),
    admin.run('destroySystemVm', { id: storage.id }, { timeoutSeconds: 120, pollMs: 300 }),
    admin.run('destroyRouter', { id: network.id }, { timeoutSeconds: 120, pollMs: 300 }),
  ]);
  const [newProxy, newStorage] = await Promise.all([
    successor(systemVms('consoleproxy'), proxy.id, seen),
    successor(systemVms('secondarystoragevm'), storage.id, seen),
    destroyed,
  ]);
  const newNetwork = await successor(() => admin.list('listRouters', { networkid: cloud.networkId, listall: true }), network.id, {
    states: new Set(),
  });
  for (const state of seen.states) {
    const [machine, agent] = state.split('/');
    if (machine === 'Running') assert.equal(agent, 'Up', `Running only when its agent is Up: ${[...seen.states]}`);
  }
  assert.ok(
    [...seen.states].some((state) => state.startsWith('Starting/')),
    [...seen.states].join(' '),
  );

  const now = [newProxy, newStorage, newNetwork];
  for (const [index, vm] of now.entries()) {
    const old = before[index];
    assert.notEqual(vm.id, old.id);
    assert.notEqual(vm.name, old.name);
    assert.equal(await inSystemVm(cloud, vm, `ls ${MARK} 2>/dev/null || true`), '', `${vm.name} has nothing of ${old.name}`);
    assert.notEqual(await inSystemVm(cloud, vm, 'cat /run/nephos/ssh/host_key.pub'), keys[index], 'an identity of its own');
  }
  assert.equal(newNetwork.publicip, network.publicip, 'the network keeps its source NAT address');
  // Zone-wide kinds may come up with other public addresses; what they let through is the same.
  assert.deepEqual(await Promise.all(now.map(serviceState)), stateBefore);

  const running = (await Promise.all(hostNames.map(domainsOf))).flat();
  for (const { name } of before) assert.ok(!running.includes(name), `${name} is gone from the hosts`);
  const disks = await onHost(hostNames[0], 'ls', '/var/lib/nephos/primary/volumes');
  for (const root of rootsBefore) assert.ok(!disks.includes(basename(root)), `${root} is gone`);
  assert.deepEqual((await admin.list('listSystemVms')).map(({ id }) => id).sort(), [newProxy.id, newStorage.id].sort());

  const log = await serialLog(newProxy.hostname, newProxy.id);
  const stages = [...log.matchAll(/^NEPHOS-STAGE (\S+) ([\d.]+)/gm)].map(([, stage, at]) => ({ stage: stage ?? '', at: Number(at) }));
  for (const stage of ['boot', 'payload', 'agent', 'arguments', 'network', 'link', 'firewall', 'ssh', 'ready'])
    assert.ok(
      stages.some((each) => each.stage === stage),
      `${stage}: ${JSON.stringify(stages)}`,
    );
  for (const [index, { at }] of stages.entries()) assert.ok(at >= (stages[index - 1]?.at ?? 0), JSON.stringify(stages));

  for (const { id, name, hostname } of now) {
    const boot = await eventually(
      `the boot of ${name} is told`,
      async () => (await admin.list('listSystemVmBoots', { id })).find(({ state }) => state === 'Up'),
      { timeoutSeconds: 60, everyMs: 500 },
    );
    const written = [...(await serialLog(hostname, id)).matchAll(/^NEPHOS-STAGE (\S+)/gm)].map(([, stage]) => stage);
    assert.deepEqual(
      boot.stage.map((stage: Reply) => stage.name),
      written,
      `${name}: the stages of the API are those of its console`,
    );
    assert.equal(boot.hostname, hostname);
    assert.ok(
      (await admin.list('listEvents', { type: 'SYSTEMVM.BOOT', resourceid: id, resourcetype: 'SystemVm', listall: true })).some(
        ({ description }) => description.includes('ready'),
      ),
      `${name}: an event tells of its boot`,
    );
  }

  // Tenants' traffic passes again, from the same address.
  const vm = await vmOf(cloud, cloud.vmId);
  const guest = await station(newNetwork.hostname, await vniOf(cloud, cloud.networkId), '10.1.1.251');
  try {
    await inNamespace(guest.namespace, 'ip', ['route', 'add', 'default', 'via', newNetwork.guestipaddress], brief);
    const source = await guest.run('curl', ['-sS', '--max-time', '20', `http://${topology.internet.address}/source`]);
    assert.equal(source.stdout.trim(), newNetwork.publicip);
    const ping = await guest.run('ping', ['-n', '-c', '2', '-i', '0.3', '-W', '3', vm.ipaddress]);
    assert.equal(ping.code, 0);
  } finally {
    await guest.remove();
  }
});

test('SV-10 SV-13 one disk and one payload: only the services of the kind run, without anything from outside', {
  timeout: 120_000,
}, async () => {
  const [proxy, storage, network] = await allKinds();
  const kinds: [Reply, string, readonly string[]][] = [
    [proxy, 'console-proxy', []],
    [storage, 'secondary-storage', []],
    [network, 'router', ['dnsmasq']],
  ];
  const versions = new Set<string>();
  for (const [vm, type, services] of kinds) {
    const listed = await inSystemVm(cloud, vm, 'ps -eo ppid=,comm=,args=');
    const programs = listed
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      // Children of kthreadd are the kernel's; what ssh has started is this very look.
      .filter(([parent, name]) => parent !== '' && parent !== '2' && name !== 'kthreadd' && !/^(sshd-?.*|ps|bash|sh)$/.test(name ?? ''))
      .map(([, name]) => name);
    assert.deepEqual(programs.sort(), ['init', 'busybox', 'node', ...services].sort(), `${vm.name}: ${listed}`);
    assert.match(listed, new RegExp(`/run/payload/${type}\\.[cm]js`));
    const seen = await inSystemVm(
      cloud,
      vm,
      'node --version; which npm npx python3 gcc; ls /usr/lib/node_modules 2>/dev/null; head -n 1 /run/payload/VERSION',
    );
    versions.add(seen);
    assert.match(seen, /^v20\.\d+\.\d+\n\S+\n?$/, 'node and the payload, and no way to fetch more');
  }
  assert.equal(versions.size, 1, [...versions].join(' / '));
  // Where they stand there is no way out of the lab, to a registry or anywhere else.
  for (const namespace of [topology.internet.name, ...hostNames])
    assert.equal((await inNamespace(namespace, 'ip', ['route', 'show', 'default'], brief)).stdout.trim(), '');
});

test('SV-07 SV-08 SV-13 the template boots a supported Debian with the kernel’s features, and nothing for an unknown type', {
  timeout: 240_000,
}, async () => {
  const figures = await checkSystemVmTemplate(cloud.varDir);
  assert.ok(figures.program.cpuSeconds <= 2 * figures.bareBoot.cpuSeconds, JSON.stringify(figures));
  for (const vm of await allKinds()) assert.match(await inSystemVm(cloud, vm, 'cat /etc/os-release'), /^VERSION_ID="1[23]"$/m);
});

const sha256 = async (host: string, file: string): Promise<string> => (await onHost(host, 'sha256sum', '--', file)).split(' ')[0] ?? '';

test('SV-11 console proxy, secondary storage VM and router all stand on one and the same image', { timeout: 180_000 }, async () => {
  const bases = new Set<string>();
  let base = '';
  for (const vm of await allKinds()) {
    const root = await rootOf(vm);
    const chain: Reply[] = JSON.parse(await onHost(vm.hostname, 'qemu-img', 'info', '-U', '--output=json', '--backing-chain', '--', root));
    assert.equal(chain.length, 2, 'an overlay and the image');
    base = chain[1].filename;
    bases.add(base);
    assert.equal(vm.templatename, 'SystemVM Template (KVM)');
  }
  assert.equal(bases.size, 1, [...bases].join(' '));
  const expected: Reply = JSON.parse(await readFile(pathsOf(cloud.varDir).systemTemplate, 'utf8'));
  const [first, second] = await Promise.all(hostNames.map((host) => sha256(host, base)));
  assert.equal(first, expected.qcow2.sha256);
  assert.equal(second, first);
});

test('SV-15 the payload comes on one disk, and the API shows its version', { timeout: 60_000 }, async () => {
  const expected: Reply = JSON.parse(await readFile(pathsOf(cloud.varDir).systemTemplate, 'utf8'));
  for (const vm of await allKinds()) {
    assert.equal((await inSystemVm(cloud, vm, 'sha256sum /dev/vdb')).split(' ')[0], expected.iso.sha256, vm.name);
    assert.equal((await inSystemVm(cloud, vm, 'head -n 1 /run/payload/VERSION')).trim(), expected.iso.version);
    assert.equal(vm.softwareversion ?? vm.version, expected.iso.version);
  }
  assert.equal((await router()).requiresupgrade, false);
});

/** Whether a file holds these bytes; read as a stream, for disks are large. */
async function holds(file: string, wanted: Buffer): Promise<boolean> {
  let tail: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(file, { highWaterMark: 4 * 1024 * 1024 })) {
    const text = Buffer.concat([tail, chunk]);
    if (text.includes(wanted)) return true;
    tail = text.subarray(-wanted.length);
  }
  return false;
}

test('SV-21 no known password is in the image or the payload, and none opens a system VM', { timeout: 180_000 }, async () => {
  const expected: Reply = JSON.parse(await readFile(pathsOf(cloud.varDir).systemTemplate, 'utf8'));
  const raw = join(scratch, 'disk.raw');
  await command('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', '--', expected.qcow2.path, raw], { timeoutSeconds: 120 });
  // In two parts, so that this file does not hold it either.
  const legacy = Buffer.from(['6m1ll', '10n'].join(''));
  assert.ok(await holds(raw, Buffer.from('PRETTY_NAME="Debian')), 'what is in the disk is found');
  for (const file of [raw, expected.iso.path, expected.initrd.path]) assert.ok(!(await holds(file, legacy)), file);
  await rm(raw);
  for (const vm of await allKinds()) {
    const usable = await inSystemVm(
      cloud,
      vm,
      "awk -F: '$2 !~ /^[!*]+$/ {print $1}' /etc/shadow; ps -eo args= | grep -E '[g]etty|[l]ogin' || true",
    );
    assert.equal(usable.trim(), '', `${vm.name}: no account has a password, and nothing asks for one`);
    assert.match(await inSystemVm(cloud, vm, 'cat /run/nephos/ssh/sshd_config'), /^PasswordAuthentication no$/m);
  }
});

test('the management server, its database and its bell listen where they should and nowhere else', { timeout: 60_000 }, async () => {
  const run = pathsOf(cloud.varDir);
  const { pid } = JSON.parse(await readFile(run.managementPid, 'utf8'));
  const { stdout } = await command('ss', ['-Htlnp'], brief);
  const places = stdout
    .split('\n')
    .filter((line) => line.includes(`pid=${pid},`))
    .map((line) => line.trim().split(/\s+/)[3])
    .sort();
  assert.deepEqual(places, ['0.0.0.0:8080', `${topology.machine.management.address}:8250`]);
  assert.doesNotMatch(stdout, new RegExp(`"(mariadbd|redis-server)".*${cloud.varDir}`), 'these have sockets in files');
  assert.ok(!(await portOpenFrom(topology.internet.name, topology.machine.public.address, 8250)), 'the link is not for the public network');
  assert.ok(await portOpenFrom(hostNames[0], topology.machine.management.address, 8250));
});
