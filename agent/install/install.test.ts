import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { newId } from '../../protocol/ids.ts';
import { AgentConfig } from '../config.ts';
import { parseJson } from '../json.ts';
import { attempt } from '../processes.ts';
import { bundleAgent } from './bundle.ts';
import { type AgentInstallation, installAgent, type RemoteShell, uninstallAgent } from './install.ts';
import { serviceFiles } from './service-files.ts';

const room = await mkdtemp(join(tmpdir(), 'nephos-install-'));
after(() => rm(room, { recursive: true, force: true }));

const installation: AgentInstallation = {
  id: newId('host'),
  servers: ['198.18.0.1:8250'],
  join: { token: 'canary-token-0123456789', caSha256: 'a'.repeat(64) },
  bundle: Buffer.from('// agent'),
};

/** A host as its answers: what each command line says. Unknown commands succeed silently. */
function host(answers: Readonly<Record<string, { code?: number; stdout?: string } | (() => { code?: number; stdout?: string })>>) {
  const commands: string[] = [];
  const files = new Map<string, { bytes: string; mode: number }>();
  const ssh: RemoteShell = {
    exec: async (argv) => {
      const line = argv.join(' ');
      commands.push(line);
      const key = Object.keys(answers).find((start) => line.startsWith(start));
      const answer = key === undefined ? {} : answers[key];
      return { code: 0, stdout: '', stderr: '', ...(typeof answer === 'function' ? answer() : answer) };
    },
    put: async (path, bytes, mode) => {
      files.set(path, { bytes: typeof bytes === 'string' ? bytes : Buffer.from(bytes).toString(), mode });
    },
  };
  return { ssh, commands, files };
}
const ordinary = {
  'id -u': { stdout: '0\n' },
  'node --print': { stdout: '/usr/local/bin/node v22.3.0\n' },
  'cat /proc/1/comm': { stdout: 'systemd\n' },
} as const;

test('on a host with systemd: files with their modes, then the unit', async () => {
  const { ssh, commands, files } = host(ordinary);
  assert.deepEqual(await installAgent(ssh, installation), { service: 'systemd', nodeVersion: 'v22.3.0' });
  assert.deepEqual(
    [...files].map(([path, { mode }]) => [path, mode.toString(8)]),
    [
      ['/opt/nephos-agent/agent.mjs', '644'],
      ['/etc/nephos-agent/agent.json', '600'],
      ['/etc/systemd/system/nephos-agent.service', '644'],
    ],
  );
  const config = parseJson(AgentConfig, files.get('/etc/nephos-agent/agent.json')?.bytes ?? '', 'config');
  assert.equal(config.id, installation.id);
  assert.deepEqual(config.join, installation.join);
  assert.match(
    files.get('/etc/systemd/system/nephos-agent.service')?.bytes ?? '',
    /^ExecStart=\/usr\/local\/bin\/node \/opt\/nephos-agent\/agent\.mjs \/etc\/nephos-agent\/agent\.json$/m,
  );
  assert.deepEqual(commands.slice(-4), [
    'systemctl daemon-reload',
    'systemctl enable nephos-agent.service',
    'systemctl restart nephos-agent.service',
    'systemctl is-active --quiet nephos-agent.service',
  ]);
  assert.ok(!commands.some((line) => line.includes(installation.join.token)), 'a token in a command line can be read by everybody there');
});

test('what an earlier cloud left is forgotten, what the same host had is kept', async () => {
  const forgets = async (configured: string): Promise<boolean> => {
    const { ssh, commands } = host({ ...ordinary, 'cat /etc/nephos-agent/agent.json': { stdout: configured } });
    await installAgent(ssh, installation);
    return commands.some((line) => line.includes('networks.json'));
  };
  const { ssh, files } = host(ordinary);
  await installAgent(ssh, installation);
  const own = files.get('/etc/nephos-agent/agent.json')?.bytes ?? '';
  assert.equal(await forgets(own), false);
  assert.equal(await forgets(own.replace(installation.id, newId('host'))), true);
  assert.equal(await forgets('{'), true);
});

test('an old node is replaced where a package helps, else the way out is said', async () => {
  let installed = false;
  const helped = host({
    ...ordinary,
    'node --print': () => (installed ? { stdout: '/usr/bin/node v20.19.2\n' } : { stdout: '/usr/bin/node v18.19.0\n' }),
    'env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install': () => {
      installed = true;
      return {};
    },
  });
  assert.equal((await installAgent(helped.ssh, installation)).nodeVersion, 'v20.19.2');
  assert.ok(helped.commands.some((line) => line.endsWith('install --yes --no-install-recommends -- nodejs')));

  for (const answer of [{ code: 127 }, { stdout: '/usr/bin/node v18.19.0\n' }]) {
    const { ssh, files } = host({ ...ordinary, 'node --print': answer });
    await assert.rejects(installAgent(ssh, installation), (error: Error) => /Node\.js 20 or newer/.test(error.message));
    assert.equal(files.size, 0);
  }
});

test('missing tools are installed by their packages, or named', async () => {
  const lacking = { ...ordinary, 'which virsh': { code: 1 }, 'which qemu-img': { code: 1 } };
  const debian = host(lacking);
  await assert.rejects(installAgent(debian.ssh, installation), /lacks virsh, qemu-img; install libvirt-clients, qemu-utils/);
  assert.ok(debian.commands.some((line) => line.endsWith('-- libvirt-clients qemu-utils')));
  const other = host({ ...lacking, 'which apt-get': { code: 1 } });
  await assert.rejects(installAgent(other.ssh, installation), /lacks virsh/);
  assert.ok(!other.commands.some((line) => line.includes('apt-get -o')));
  const simulated = host(lacking);
  await installAgent(simulated.ssh, { ...installation, driver: 'simulated' });
});

test('who is not root, and an agent that does not start, are told apart', async () => {
  await assert.rejects(installAgent(host({ ...ordinary, 'id -u': { stdout: '1000\n' } }).ssh, installation), { code: 'Forbidden' });
  const { ssh } = host({ ...ordinary, 'systemctl is-active': { code: 3 } });
  await assert.rejects(installAgent(ssh, installation), /does not start on the host; its log is/);
});

test('removal unmounts pools before it deletes, and never deletes below a mount', async () => {
  const pool = newId('storagePool');
  const { ssh, commands } = host({
    ...ordinary,
    'cat /proc/self/mounts': {
      stdout: `a:/x /var/lib/nephos-agent/mnt/${pool} nfs rw 0 0\nb:/y /srv nfs rw 0 0\nc:/z /var/lib/nephos-agent/mnt/../../../etc nfs rw 0 0\n`,
    },
    'ip -oneline link show': {
      stdout: '2: cloud0: <UP> mtu 1500\n3: brvx-7: <UP>\n4: vxlan7: <UP>\n5: cloudbr0: <UP>\n6: eth0@if7: <UP>\n',
    },
  });
  await uninstallAgent(ssh);
  const unmount = commands.indexOf(`umount -- /var/lib/nephos-agent/mnt/${pool}`);
  const remove = commands.indexOf('find /var/lib/nephos-agent -xdev -mindepth 1 -delete');
  assert.ok(unmount > 0 && remove > unmount);
  assert.equal(commands.filter((line) => line.startsWith('umount')).length, 1);
  assert.deepEqual(
    commands.filter((line) => line.startsWith('ip link delete')),
    ['cloud0', 'brvx-7', 'vxlan7'].map((name) => `ip link delete dev ${name}`),
  );
});

test('the scripts are sound for every shell, and a strange path of node is refused', async () => {
  for (const { path, bytes } of serviceFiles('init', '/usr/bin/node')) {
    const file = join(room, path.split('/').at(-1) ?? '');
    await writeFile(file, bytes);
    assert.equal((await attempt('sh', ['-n', file])).code, 0, path);
  }
  for (const path of ['/usr/bin/node; reboot', '/usr/bin/$(id)', 'node', '/a b/node', '/x\n/node']) {
    for (const kind of ['init', 'systemd'] as const) assert.throws(() => serviceFiles(kind, path), { code: 'InvalidParameter' });
  }
});

test('the agent is one file that node alone can run', async () => {
  const file = join(room, 'agent.mjs');
  await writeFile(file, await bundleAgent());
  const { code, stdout } = await attempt('node', [file, join(room, 'no-such-config')], { timeoutSeconds: 20 });
  assert.equal(code, 1);
  assert.match(stdout, /ENOENT/);
});
