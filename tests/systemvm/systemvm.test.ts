import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import type { BootStage } from '../../protocol/messages/systemvm.ts';
import { inside, ip, isRoot, works } from '../../router/harness.ts';
import { runCommand } from '../../systemvm/commands.ts';
import { openSurroundings, type Surroundings, until, type Vm } from './harness.ts';

const control = '169.254.3.4';
interface Description {
  readonly version: string;
  readonly operatingSystem: string;
  readonly residentMib: number;
  readonly stages: readonly BootStage[];
}

describe('a system VM between its networks', { skip: isRoot ? false : 'needs root', timeout: 150_000 }, () => {
  let around: Surroundings;
  let vm: Vm;
  const connects = (address: string, port: number): Promise<boolean> =>
    works(around.namespace, 'busybox', ['timeout', '1', 'busybox', 'nc', '-w', '1', address, String(port), '-e', 'true']);
  const ssh = (key: string, ...options: string[]): Promise<string> => {
    const settings = [
      'StrictHostKeyChecking=no',
      `UserKnownHostsFile=${around.folder}/known`,
      'IdentitiesOnly=yes',
      'BatchMode=yes',
      'ConnectTimeout=3',
    ];
    const words = [...settings, ...options].flatMap((setting) => ['-o', setting]);
    return inside(around.namespace, 'ssh', ['-F', '/dev/null', '-p', '3922', '-i', key, ...words, `root@${control}`, 'echo', 'inside']);
  };

  before(async () => {
    around = await openSurroundings('secondary-storage');
    vm = await around.makeVm('secondary-storage');
    vm.start();
    await vm.untilUp();
  });
  after(async () => {
    await around?.close();
  });

  test('SV-14: it is Up, and tells its boot stages with their times', async () => {
    const description = await until('all stages', async () => {
      const seen = await vm.ask<Description>('DescribeSystemVm');
      return seen.stages.some(({ stage }) => stage === 'ready') ? seen : null;
    });
    const stages = description.stages.map(({ stage }) => stage);
    assert.deepEqual([...stages].sort(), ['agent', 'arguments', 'firewall', 'link', 'network', 'ready', 'role', 'ssh']);
    assert.deepEqual(stages.slice(0, 2), ['agent', 'arguments']);
    assert.ok(stages.indexOf('network') < stages.indexOf('link'));
    assert.ok(stages.indexOf('link') < stages.indexOf('firewall'), 'the link comes first');
    assert.ok(stages.indexOf('firewall') < stages.indexOf('ssh'));
    const times = description.stages.map(({ atSeconds }) => atSeconds);
    assert.deepEqual(
      times,
      [...times].sort((a, b) => a - b),
    );
    assert.equal(description.version, 'test-7');
    assert.match(description.operatingSystem, /Debian/);
    assert.match(await vm.console(), /NEPHOS-STAGE link \d+\.\d\d\n/);
  });

  test('SV-22: each NIC has the role, name and address of its MAC, and the default route is the public one', async () => {
    const addresses = await inside(vm.namespace, 'ip', ['-br', '-4', 'address']);
    const words = addresses.split('\n').map((line) => line.split(/[@\s]+/));
    assert.deepEqual(words.flatMap(([device = '', , , address]) => (device.startsWith('eth') ? [`${device} ${address}`] : [])).sort(), [
      'eth0 169.254.3.4/16',
      'eth1 198.18.0.50/24',
      'eth2 203.0.113.20/24',
      'eth3 198.19.0.50/24',
    ]);
    const links = await inside(vm.namespace, 'ip', ['-br', 'link']);
    for (const index of [0, 1, 2, 3]) assert.match(links, new RegExp(`^eth${index}@\\S+ +\\S+ +02:00:00:00:05:0${index}`, 'm'));
    assert.match(await inside(vm.namespace, 'ip', ['route', 'show', 'default']), /^default via 203\.0\.113\.1 dev eth2/);
    assert.match(await inside(vm.namespace, 'ip', ['route', 'get', '198.18.200.9']), /via 198\.18\.0\.1 dev eth1/);
    assert.match(await inside(vm.namespace, 'ip', ['route', 'get', '198.18.0.2']), /^198\.18\.0\.2 dev eth1/);
    assert.equal(await readFile(`${vm.folder}/resolv.conf`, 'utf8'), 'search cloud.internal\nnameserver 203.0.113.53\n');
  });

  test('SV-09: 3922 is open from the control network with the cloud’s key only; everything else is closed', async () => {
    assert.equal((await ssh(`${around.folder}/key`)).trim(), 'inside');
    await runCommand('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', `${around.folder}/stranger`]);
    await assert.rejects(ssh(`${around.folder}/stranger`), /Permission denied \(publickey\)/);
    const byPassword = ['PreferredAuthentications=password,keyboard-interactive', 'PubkeyAuthentication=no'];
    await assert.rejects(ssh(`${around.folder}/key`, ...byPassword), /Permission denied \(publickey\)/);
    const targets = [control, '198.18.0.50', '203.0.113.20', '198.19.0.50'].flatMap((address) =>
      [22, 443, 3922, 8210, 9999].map((port) => ({ address, port })),
    );
    const open = await Promise.all(
      targets.map(async ({ address, port }) => ((await connects(address, port)) ? [`${address}:${port}`] : [])),
    );
    assert.deepEqual(open.flat(), [`${control}:3922`, '203.0.113.20:443', '198.19.0.50:8210']);
    // The control address is not reached by way of another NIC either.
    await ip('-netns', around.namespace, 'route', 'add', `${control}/32`, 'via', '203.0.113.20', 'dev', 'public');
    assert.equal(await connects(control, 3922), false);
    await ip('-netns', around.namespace, 'route', 'del', `${control}/32`);
    assert.equal(await connects(control, 3922), true);
  });

  test('SV-16: a new key replaces the old one on a running system VM, and stays when its program is started again', async () => {
    await runCommand('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'next@test', '-f', `${around.folder}/next`]);
    const line = (await readFile(`${around.folder}/next.pub`, 'utf8')).trim();
    await vm.ask('ApplyAuthorizedKeys', { keys: [line] });
    assert.equal((await ssh(`${around.folder}/next`)).trim(), 'inside');
    await assert.rejects(ssh(`${around.folder}/key`), /Permission denied \(publickey\)/);
    await assert.rejects(vm.ask('ApplyAuthorizedKeys', { keys: [`command="id" ${line}`] }));
    assert.equal((await ssh(`${around.folder}/next`)).trim(), 'inside');
  });

  test('a program that was killed comes back with the certificate it had, and its sshd makes room', async () => {
    const before = await vm.state();
    assert.equal(before.serials, 1);
    await vm.kill();
    await until('the link is seen to be gone', async () => (await vm.state()).server === -1);
    vm.start();
    const again = await vm.untilUp();
    assert.equal(again.serials, 1, 'the one-time token was not needed again');
    assert.equal((await until('ssh again', () => ssh(`${around.folder}/next`).catch(() => null))).trim(), 'inside');
  });

  test('SV-19: it dials out from its management NIC, and goes to another server when its own is gone', async () => {
    const first = await vm.untilUp();
    assert.equal(first.address, '198.18.0.50');
    await around.closeHub(first.server);
    const second = await vm.untilUp();
    assert.notEqual(second.server, first.server);
    assert.ok((await vm.ask<Description>('DescribeSystemVm')).residentMib > 20);
  });

  test('a clean stop says goodbye and leaves no daemon behind', async () => {
    assert.equal(await vm.stop(), 0);
    await until('goodbye', async () => (await vm.state()).state === 'Disconnected');
    assert.equal((await ip('netns', 'pids', vm.namespace)).trim(), '');
  });

  test('SV-14: a stage that fails is named on the console, and the program ends to be started again', async () => {
    const broken = await around.makeVm('secondary-storage', { gateway: '192.0.2.9' });
    const child = broken.start();
    const exitCode = await new Promise((resolve) => child.once('exit', resolve));
    assert.equal(exitCode, 1);
    assert.match(await broken.console(), /NEPHOS-STAGE network \d+\.\d\d failed: ip failed: .*gateway/i);
    assert.equal((await broken.state()).serials, 0, 'it never came as far as the link');
  });

  test('SV-14: a later stage that fails can be asked for over the link', async () => {
    const broken = await around.makeVm('secondary-storage');
    const child = broken.start({ sshdPrivilegeFolder: `${broken.folder}/cmdline/sshd`, failurePauseSeconds: 8 });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    await broken.untilUp();
    // The stage fails some time after the link is up, and the program lives on for a while so that it can be asked.
    const failed = async () =>
      (await broken.ask<Description>('DescribeSystemVm')).stages.find(({ stage }) => stage === 'ssh')?.detail ?? '';
    await until('the stage fails', async () => (await failed()) !== '');
    assert.match(await failed(), /^failed: .*ENOTDIR/);
    assert.equal(await ended, 1);
  });

  test('SV-13: with another type, or one that is not known, nothing is started', async () => {
    for (const type of ['router', 'elbvm']) {
      const other = await around.makeVm('secondary-storage', { type });
      const child = other.start();
      assert.equal(await new Promise((resolve) => child.once('exit', resolve)), 1);
      assert.match(await other.console(), new RegExp(`NEPHOS-STAGE arguments \\d+\\.\\d\\d failed: .*${type}`));
      assert.equal((await other.console()).includes('network'), false);
      assert.equal((await other.state()).serials, 0);
    }
  });
});
