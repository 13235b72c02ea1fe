/** What a boot tells of itself, and which key opens system VMs: both over commands of our own, with simulated system VMs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApiError, eventually, type Reply } from '../../lab/client.ts';
import { cloudSshKey } from '../../management/core/ssh-key.ts';
import type { SystemVmKindName } from '../../protocol/kinds.ts';
import { parseBootArguments } from '../../systemvm/bootargs.ts';
import { addTenant } from '../commands/accounts.ts';
import type { BootFailure } from './simulated-system-vm.ts';
import { startZone, type Zone } from './zone.ts';

const broken = new Map<SystemVmKindName, BootFailure>();
const refusal = async (started: Promise<unknown>): Promise<string> => {
  try {
    await started;
  } catch (error) {
    assert.ok(error instanceof ApiError, String(error));
    return error.message;
  }
  throw new assert.AssertionError({ message: 'it went well all the same' });
};

test('boots and keys of system VMs', { timeout: 150_000 }, async (t) => {
  const zone = await startZone({ beatMs: 400, bootFailure: (kind) => broken.get(kind) ?? null });
  t.after(() => zone.cloud.close());
  const steps: [string, (zone: Zone) => Promise<void>][] = [
    ['SV-14 the stages of each boot and their times are told by the API, and by one event', trace],
    ['SV-14 a stage of a router that fails is named to the tenant, and to operators with its reason', failedRouter],
    ['SV-13 a system VM whose type is not known starts nothing, and an event says so', unknownType],
    ['SV-14 a reboot that fails at a stage says so with the last words of the console', failedReboot],
    ['SV-16 another ssh key of the cloud reaches all system VMs, also those that were away, and new ones', rotation],
  ];
  for (const [title, step] of steps) await t.test(title, () => step(zone));
});

const allUp = (zone: Zone): Promise<Reply[]> =>
  eventually('both system VMs are up', async () => {
    const found = await zone.list('listSystemVms', { zoneid: zone.zoneId, state: 'Running' });
    return found.length === 2 && found.every(({ agentstate }: Reply) => agentstate === 'Up') ? found : null;
  });
const bootOf = (zone: Zone, id: string, state: string): Promise<Reply> =>
  eventually(`the boot is ${state}`, async () => (await zone.list('listSystemVmBoots', { id, state }))[0]);
const bootEvents = async (zone: Zone, resourceid: string): Promise<Reply[]> =>
  (await zone.list('listEvents', { type: 'SYSTEMVM.BOOT', listall: true })).filter((event: Reply) => event.resourceid === resourceid);

async function trace(zone: Zone) {
  for (const { id, name, systemvmtype, hostid } of await allUp(zone)) {
    const boot = await bootOf(zone, id, 'Up');
    assert.equal(boot.name, name);
    assert.equal(boot.systemvmtype, systemvmtype);
    assert.equal(boot.hostid, hostid);
    assert.equal(boot.seconds, 3.82);
    assert.equal(boot.failedstage, undefined);
    const stages: { name: string; seconds: number }[] = boot.stage;
    assert.equal(
      stages.map((stage) => stage.name).join(' '),
      'boot payload role agent arguments network role link firewall ssh ready',
      'those of the kernel and those of its program',
    );
    const times = stages.map(({ seconds }) => seconds);
    assert.deepEqual(
      times,
      [...times].sort((a, b) => a - b),
    );
    const events = await bootEvents(zone, id);
    assert.equal(events.length, 1);
    assert.equal(events[0]?.level, 'INFO');
    assert.match(
      events[0]?.description,
      new RegExp(`^${name} has booted in 3\\.8 s; stages: .*agent 2\\.01, .*link 3\\.12, .*ready 3\\.82$`),
    );
  }
}

async function failedRouter(zone: Zone) {
  const tenant = await addTenant(zone.cloud, 'unlucky');
  const params = { zoneid: zone.zoneId, networkofferingid: zone.networkOfferingId, name: 'dark', displaytext: 'dark' };
  const { network } = await tenant.client.call('createNetwork', params);
  const deploy = async (name: string) => {
    const started = await tenant.client.call('deployVirtualMachine', { ...zone.usual, networkids: network.id, name });
    return tenant.client.job('deployVirtualMachine', started.jobid);
  };
  broken.set('router', { stage: 'network', reason: 'ip failed: secret-looking detail' });
  const before = Date.now();
  const told = await refusal(deploy('dark-1'));
  assert.match(told, /boot stage network failed/);
  assert.doesNotMatch(told, /secret-looking|NEPHOS/, 'a tenant is not told what the console says');
  assert.ok(Date.now() - before < 60_000, 'long before the time for a start is over');
  const [failed] = await eventually('the boot is told', async () => {
    const boots = await zone.list('listSystemVmBoots', { systemvmtype: 'domainrouter', state: 'Failed' });
    return boots.length > 0 ? boots : null;
  });
  assert.equal(failed.failedstage, 'network');
  assert.equal(failed.reason, 'ip failed: secret-looking detail');
  assert.deepEqual(failed.stage.map(({ name }: { name: string }) => name).slice(0, 6), [
    'boot',
    'payload',
    'role',
    'agent',
    'arguments',
    'network',
  ]);
  assert.match(failed.console.at(-1), /NEPHOS-STAGE network .* failed: ip failed/);
  const [event] = await bootEvents(zone, failed.id);
  assert.equal(event?.level, 'ERROR');
  assert.match(event?.description, /did not start: boot stage network failed: ip failed: secret-looking detail; stages: boot 1\.01, /);
  const alerts = async (): Promise<Reply[]> =>
    (await zone.list('listAlerts')).filter(
      ({ name, description }: Reply) => name === 'ALERT.SERVICE.DOMAINROUTER' && /stage network/.test(description),
    );
  assert.equal((await alerts()).length, 1);
  const hosts = [...zone.cloud.hosts.values()];
  const running = (await Promise.all(hosts.map((host) => host.machines.list()))).flat();
  assert.ok(!running.some(({ name }) => name === failed.name), 'nothing of it runs');

  broken.clear();
  const { virtualmachine } = await deploy('dark-2');
  assert.equal(virtualmachine.state, 'Running');
  const [router] = await zone.list('listRouters', { networkid: network.id });
  await bootOf(zone, router.id, 'Up');
  const open = 'SELECT COUNT(*) AS n FROM alert WHERE resource_id = ? AND resolved_at IS NULL';
  assert.equal(Number((await zone.cloud.db.rows<{ n: string }>(open, [network.id]))[0]?.n), 0, 'the alert has ended');
}

async function unknownType(zone: Zone) {
  const network = await zone.network('typeless');
  broken.set('router', { stage: 'unknown-type', reason: '' });
  const told = await refusal(zone.deploy({ networkids: network.id, name: 'typeless-1' }));
  broken.clear();
  assert.match(told, /boot stage unknown-type failed/);
  const event = await eventually('the event', async () =>
    (await zone.list('listEvents', { type: 'SYSTEMVM.BOOT', level: 'ERROR', listall: true })).find(({ description }) =>
      /stage unknown-type failed: the boot arguments name no known type/.test(description),
    ),
  );
  assert.deepEqual(await zone.list('listRouters', { networkid: network.id }), [], 'no half of a router is left');
  const [boot] = await zone.list('listSystemVmBoots', { id: event.resourceid });
  assert.deepEqual(
    boot.stage.map(({ name }: { name: string }) => name),
    ['boot', 'payload', 'unknown-type'],
  );
}

async function failedReboot(zone: Zone) {
  const [proxy] = (await allUp(zone)).filter(({ systemvmtype }) => systemvmtype === 'consoleproxy');
  assert.ok(proxy);
  broken.set('console-proxy', { stage: 'arguments', reason: 'host is missing' });
  const told = await refusal(zone.run('rebootSystemVm', { id: proxy.id }));
  assert.match(
    told,
    /boot stage arguments failed: host is missing; its console ends with: .*NEPHOS-STAGE arguments \S+ failed: host is missing/,
  );
  const boot = await bootOf(zone, proxy.id, 'Failed');
  assert.equal(boot.failedstage, 'arguments');
  assert.equal((await bootEvents(zone, proxy.id)).filter(({ level }) => level === 'ERROR').length, 1);
  broken.clear();
  const [next] = (await allUp(zone)).filter(({ systemvmtype }) => systemvmtype === 'consoleproxy');
  assert.notEqual(next?.id, proxy.id, 'another one takes its place');
}

async function rotation(zone: Zone) {
  const { cloud } = zone;
  const network = await zone.network('keyed');
  const guest = await zone.deploy({ networkids: network.id, name: 'keyed-1' });
  const routers: Reply[] = await zone.list('listRouters', { state: 'Running' });
  const others = await allUp(zone);
  const lineOf = (id: string): string => (cloud.systemVms.get(id)?.authorizedKeys() ?? []).join('|').replace(/\n/g, '');
  const [before] = await zone.list('listCloudSshKeys');
  assert.equal(before.pending, 0);
  assert.equal(before.systemvms, routers.length + others.length);
  for (const { id } of [...routers, ...others]) assert.equal(lineOf(id), before.publickey);

  const [away] = routers.filter(({ guestnetworkid }) => guestnetworkid === network.id);
  assert.ok(away);
  await cloud.cutHost(away.hostid);
  await eventually('the router is away', async () => {
    const [row] = await cloud.db.rows<{ state: string }>('SELECT state FROM agent WHERE id = ?', [away.id]);
    return row?.state === 'Alert';
  });
  const { cloudsshkey: made } = await zone.call('rotateCloudSshKey');
  assert.notEqual(made.publickey, before.publickey);
  assert.match(made.publickey, /^ssh-ed25519 \S+ nephos$/);
  assert.match(made.fingerprint, /^SHA256:[A-Za-z0-9+/]{43}$/);
  await eventually('those that are up have the new key', async () => others.every(({ id }) => lineOf(id) === made.publickey));
  assert.equal(lineOf(away.id), before.publickey, 'the other one has not been reached');
  assert.ok((await zone.list('listCloudSshKeys'))[0].pending >= 1);

  cloud.mendHost(away.hostid);
  await eventually('the one that was away has it, too', async () => lineOf(away.id) === made.publickey);
  const after = await eventually('nobody is left', async () => {
    const [key] = await zone.list('listCloudSshKeys');
    return key.pending === 0 ? key : null;
  });
  assert.equal(after.publickey, made.publickey);
  assert.equal(after.systemvms, routers.length + others.length);

  await zone.run('destroyRouter', { id: away.id });
  const next = await eventually(
    'its successor runs',
    async () => (await zone.list('listRouters', { networkid: network.id, state: 'Running' }))[0],
  );
  const boot = [...cloud.hosts.values()].map((host) => host.specOf(next.id)?.boot).find((each) => each !== undefined);
  assert.ok(boot?.kind === 'direct');
  assert.equal(parseBootArguments(boot.arguments).authorizedKey, made.publickey, 'a new one boots with it');

  const { services } = cloud.management;
  const kept = await cloud.db.rows<{ name: string; value: string }>('SELECT name, value FROM kept');
  const key = await cloudSshKey(services);
  assert.equal(key.publicKey, made.publickey);
  const [, middle = ''] = key.privateKey.reveal().split('\n');
  assert.ok(middle.length > 40);
  assert.ok(
    kept.every(({ value }) => !value.includes(middle) && !value.includes('PRIVATE KEY')),
    'the private half is sealed',
  );
  const events = await zone.list('listEvents', { type: 'SSHKEY.ROTATE' });
  assert.match(events.at(-1)?.description, /Successfully completed changing the cloud's ssh key/);
  assert.equal(guest.state, 'Running');
}
