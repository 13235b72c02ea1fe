/**
 * The lab on the real machine: up, used, crashed, down, and all of that twice. It needs root and a machine without a lab, so it is no unit test; the
 * end-to-end tests call `labEndToEnd`.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'ssh2';
import { command } from './command.ts';
import { exists } from './files.ts';
import {
  hostCutNetwork,
  hostJoinNetwork,
  hostPowerOff,
  hostPowerOn,
  inHost,
  inNamespace,
  labDown,
  labHostCredentials,
  labPaths,
  labStatus,
  labUp,
  labWipe,
} from './lab.ts';
import { nfsAnswers } from './nfs.ts';
import { type ProcessIdentity, processesWithVariable } from './pids.ts';
import { topology } from './topology.ts';

const brief = { timeoutSeconds: 60 };
const [first, second] = ['nephos-h1', 'nephos-h2'] as const;

/** All that a lab could leave behind on a machine. Other programs have namespaces too, and come and go meanwhile: only the lab's own names count. */
const traces = async (): Promise<Record<string, string[]>> => {
  const lines = async (file: string, args: readonly string[]): Promise<string[]> => (await command(file, args, brief)).stdout.split('\n');
  const ofLab = (line: string): boolean => /nephos-(lab|mgmt|pub|inet|nfs|h\d)|\b(198\.1[89]|203\.0\.113)\./.test(line);
  const folders = [
    '/opt/nephos-agent',
    '/etc/nephos-agent',
    '/var/lib/nephos',
    '/var/lib/nephos-agent',
    '/run/nephos-lab',
    '/root/nephos-trace',
  ];
  return {
    links: (await lines('ip', ['-brief', 'address', 'show'])).filter(ofLab),
    routes: (await lines('ip', ['route', 'show', 'table', 'all'])).filter(ofLab),
    namespaces: (await lines('ip', ['netns', 'list'])).filter(ofLab),
    mounts: (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').filter(ofLab),
    folders: (await Promise.all(folders.map(async (path) => ((await exists(path)) ? [path] : [])))).flat(),
  };
};

const processesOfLab = async (varDir: string): Promise<ProcessIdentity[]> => {
  const lists = ['hosts/nephos-h1', 'hosts/nephos-h2', 'machines/nephos-inet', 'machines/nephos-nfs'].map((part) =>
    processesWithVariable('NEPHOS_PROCESS', join(varDir, 'lab', part, 'init.pid.json')),
  );
  return (await Promise.all(lists)).flat();
};

const sshRun = (host: { address: string; user: string; password: string; hostKeyFingerprint: string }, line: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const client = new Client();
    let output = '';
    client.on('error', reject);
    client.on('ready', () =>
      client.exec(line, (error, stream) => {
        if (error) return reject(error);
        stream.on('data', (chunk: Buffer) => {
          output += chunk.toString();
        });
        stream.on('close', () => {
          client.end();
          resolve(output);
        });
      }),
    );
    client.connect({
      host: host.address,
      username: host.user,
      password: host.password,
      hostHash: 'sha256',
      hostVerifier: (hash: string) =>
        `SHA256:${Buffer.from(hash, 'hex').toString('base64').replace(/=+$/, '')}` === host.hostKeyFingerprint,
      readyTimeout: 20_000,
    });
  });

const domain = (name: string, address: string): string => `<domain type='qemu'>
  <name>${name}</name><memory unit='MiB'>64</memory>
  <os><type arch='x86_64'>hvm</type></os>
  <cpu mode='custom'><model>qemu64</model></cpu>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='${topology.primaryMountPoint}/${name}.qcow2'/><target dev='vda' bus='virtio'/></disk>
    <interface type='bridge'><source bridge='${topology.hostBridges.public}'/><model type='virtio'/></interface>
    <graphics type='vnc' autoport='yes' listen='${address}'/>
  </devices>
</domain>
`;

const startDomain = async (varDir: string, host: string, name: string, address: string): Promise<void> => {
  const { primary } = labPaths(varDir);
  await command('qemu-img', ['create', '-q', '-f', 'qcow2', join(primary, `${name}.qcow2`), '16M'], brief);
  await writeFile(join(primary, `${name}.xml`), domain(name, address));
  await inHost(host, 'virsh', ['create', '--', `${topology.primaryMountPoint}/${name}.xml`], { timeoutSeconds: 120 });
  assert.match((await inHost(host, 'virsh', ['domstate', '--', name], brief)).stdout, /running/);
};

const reaches = async (host: string, address: string): Promise<boolean> =>
  (await inHost(host, 'ping', ['-n', '-c', '3', '-i', '0.2', '-W', '1', address], { timeoutSeconds: 20, acceptedCodes: [1, 2] })).code ===
  0;

const checkHosts = async (varDir: string): Promise<void> => {
  const uuids = [];
  for (const [index, host] of [first, second].entries()) {
    assert.match((await inHost(host, 'virsh', ['--connect', 'qemu:///system', 'list', '--all'], brief)).stdout, /Id/);
    assert.equal((await inHost(host, 'hostname', [], brief)).stdout.trim(), host);
    uuids.push(/<uuid>(.*?)<\/uuid>/.exec((await inHost(host, 'virsh', ['capabilities'], brief)).stdout)?.[1]);
    assert.equal((await inHost(host, 'ip', ['route', 'show', 'default'], brief)).stdout, '');
    assert.equal((await inHost(host, process.execPath, ['--version'], brief)).stdout.trim(), process.version);
    // What is inside is not the machine's.
    await inHost(
      host,
      'touch',
      ['/etc/nephos-trace', '/root/nephos-trace', '/var/lib/nephos-trace', '/opt/nephos-trace', '/tmp/nephos-trace'],
      brief,
    );
    for (const folder of ['/etc', '/root', '/var/lib', '/opt', '/tmp']) assert.ok(!(await exists(`${folder}/nephos-trace`)), folder);
    await startDomain(varDir, host, `lab-test-${index + 1}`, `198.18.0.${11 + index}`);
  }
  assert.ok(uuids[0] !== undefined && uuids[0] !== uuids[1], 'two hosts with one libvirt identity');
  assert.ok(await reaches(first, '198.18.0.12'));
  assert.ok(await reaches(first, topology.machine.management.address));
  assert.ok(await reaches(second, '198.18.1.5'));
  assert.equal(
    (await command('sysctl', ['-n', `net.ipv4.conf.${topology.machine.management.device}.forwarding`], brief)).stdout.trim(),
    '0',
  );
};

/** Two overlays with the same addresses inside, over two hosts: each passes, and neither sees the other. */
const checkVxlan = async (): Promise<void> => {
  const remotes = { [first]: '198.18.0.12', [second]: '198.18.0.11' };
  const inside = { [first]: '10.1.1.1', [second]: '10.1.1.2' };
  for (const host of [first, second]) {
    const device = ['id', '4711', 'dstport', '4789', 'dev', topology.hostBridges.management, 'remote', remotes[host] ?? ''];
    await inHost(host, 'ip', ['link', 'add', 'vx4711', 'type', 'vxlan', ...device], brief);
    await inHost(host, 'ip', ['address', 'add', `${inside[host]}/24`, 'dev', 'vx4711'], brief);
    await inHost(host, 'ip', ['link', 'set', 'vx4711', 'mtu', '1500', 'up'], brief);
  }
  const whole = ['-n', '-c', '2', '-i', '0.2', '-W', '2', '-M', 'do', '-s', '1472', '10.1.1.2'];
  await inHost(first, 'ping', whole, { timeoutSeconds: 20 });
  await inHost(second, 'ip', ['link', 'delete', 'vx4711'], brief);
  await inHost(
    second,
    'ip',
    [
      'link',
      'add',
      'vx4712',
      'type',
      'vxlan',
      'id',
      '4712',
      'dstport',
      '4789',
      'dev',
      topology.hostBridges.management,
      'remote',
      '198.18.0.11',
    ],
    brief,
  );
  await inHost(second, 'ip', ['address', 'add', '10.1.1.2/24', 'dev', 'vx4712'], brief);
  await inHost(second, 'ip', ['link', 'set', 'vx4712', 'up'], brief);
  assert.equal(await reaches(first, '10.1.1.2'), false, 'two overlays leak into each other');
  await inHost(second, 'ip', ['link', 'delete', 'vx4712'], brief);
};

const checkSsh = async (varDir: string): Promise<void> => {
  const credentials = await labHostCredentials(varDir, 1);
  assert.equal((await sshRun(credentials, 'hostname')).trim(), first);
  assert.equal((await sshRun(credentials, 'node --version')).trim(), process.version);
  await assert.rejects(sshRun({ ...credentials, password: 'wrong' }, 'hostname'), /authentication/i);
  await assert.rejects(
    sshRun({ ...credentials, hostKeyFingerprint: (await labHostCredentials(varDir, 2)).hostKeyFingerprint }, 'hostname'),
  );
  const options = [
    '-o',
    'BatchMode=yes',
    '-o',
    'StrictHostKeyChecking=no',
    '-o',
    'UserKnownHostsFile=/dev/null',
    '-i',
    labPaths(varDir).sshKey,
  ];
  assert.equal((await command('ssh', [...options, 'root@198.18.0.12', 'hostname'], brief)).stdout.trim(), second);
};

const checkInternet = async (varDir: string): Promise<void> => {
  const { address, wwwName } = topology.internet;
  assert.equal((await (await fetch(`http://${address}/source`)).text()).trim(), topology.machine.public.address);
  await writeFile(join(labPaths(varDir).images, 'lab-test.img'), Buffer.alloc(100_000, 'nephos'));
  const part = await fetch(`http://${address}/images/lab-test.img`, { headers: { range: 'bytes=6-11' } });
  assert.equal(part.status, 206);
  assert.equal(await part.text(), 'nephos');
  // By name, as a guest would: the machine itself never asks the lab's name server.
  const { stdout } = await inNamespace(topology.internet.name, process.execPath, ['-e', NAME_LOOKUP, address, wwwName], brief);
  assert.equal(stdout.trim(), `${address} EREFUSED`);
  assert.ok(await nfsAnswers('198.18.0.5'));
};

const NAME_LOOKUP = `
const { Resolver } = require('node:dns').promises;
const [server, name] = process.argv.slice(1);
const resolver = new Resolver({ timeout: 2000, tries: 2 });
resolver.setServers([server]);
Promise.all([resolver.resolve4(name), resolver.resolve4('elsewhere.test').catch((error) => error.code)]).then((found) => console.log(found.flat().join(' ')));
`;

const checkPower = async (varDir: string): Promise<void> => {
  // As an installer does on a machine without systemd.
  const script = join(varDir, 'lab', 'hosts', first, 'files', 'etc', 'init.d', 'lab-test');
  await writeFile(script, '#!/bin/sh\nexec sleep 1000\n', { mode: 0o755 });
  const before = await processesOfLab(varDir);
  await hostPowerOff(first);
  await hostPowerOff(first);
  assert.equal(await reaches(second, '198.18.0.11'), false);
  assert.equal((await labStatus()).machines.find(({ name }) => name === first)?.power, 'off');
  assert.ok((await processesOfLab(varDir)).length < before.length);
  await assert.rejects(inHost(first, 'hostname', [], brief), { code: 'Unreachable' });
  await hostPowerOn(first);
  await hostPowerOn(first);
  assert.ok(await reaches(second, '198.18.0.11'));
  // The guest died with its host, as with any power cut.
  assert.doesNotMatch((await inHost(first, 'virsh', ['list', '--all', '--name'], brief)).stdout, /lab-test-1/);
  assert.match((await inHost(second, 'virsh', ['list', '--name'], brief)).stdout, /lab-test-2/);
  assert.match((await inHost(first, 'ps', ['axo', 'args'], brief)).stdout, /sleep 1000/);
  await rm(script);
  await hostCutNetwork(first, ['management']);
  assert.equal(await reaches(second, '198.18.0.11'), false);
  assert.ok(await reaches(first, '198.18.1.5'), 'only the management network was cut');
  await hostJoinNetwork(first);
  for (let attempt = 0; !(await reaches(second, '198.18.0.11')); attempt++) assert.ok(attempt < 5, 'the network does not come back');
};

/** Kills a build of the lab at several moments; the next one must bring it up whole. */
const checkCrashes = async (varDir: string): Promise<void> => {
  const program = `import { labUp } from ${JSON.stringify(join(import.meta.dirname, 'lab.ts'))}; await labUp({ varDir: ${JSON.stringify(varDir)} });`;
  for (const delayMs of [500, 800, 1200, 1700]) {
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program], {
      stdio: 'ignore',
      cwd: join(import.meta.dirname, '..'),
    });
    await sleep(delayMs);
    child.kill('SIGKILL');
    await labUp({ varDir });
    const status = await labStatus();
    assert.deepEqual(
      status.machines.map(({ power, answers }) => [power, answers]),
      Array.from({ length: 4 }, () => ['on', true]),
    );
    await labDown({ varDir });
  }
};

export interface LabEndToEndOptions {
  readonly varDir: string;
  readonly say?: (text: string) => void;
}

export const labEndToEnd = async ({ varDir, say = () => undefined }: LabEndToEndOptions): Promise<void> => {
  assert.equal((await labStatus()).varDir, null, 'this machine already holds a lab');
  const before = await traces();
  try {
    for (const round of [1, 2]) {
      const startedAtMs = performance.now();
      const told = (what: string): void => say(`round ${round}: ${what} (${((performance.now() - startedAtMs) / 1000).toFixed(1)} s)`);
      await labUp({ varDir });
      told('up');
      await labUp({ varDir });
      told('up again');
      await assert.rejects(labUp({ varDir: `${varDir}-other` }), { code: 'Conflict' });
      await assert.rejects(labDown({ varDir: `${varDir}-other` }), { code: 'Conflict' });
      await checkHosts(varDir);
      told('hosts and domains');
      await checkVxlan();
      told('overlays');
      await checkSsh(varDir);
      told('ssh');
      await checkInternet(varDir);
      told('internet and NFS');
      await checkPower(varDir);
      told('power and cables');
      await labDown({ varDir });
      told('down');
      await labDown({ varDir });
      assert.deepEqual(await processesOfLab(varDir), []);
      assert.deepEqual(await traces(), before);
    }
    await checkCrashes(varDir);
    say('crashes survived');
  } finally {
    await labWipe({ varDir });
  }
  assert.deepEqual(await traces(), before);
  assert.ok(!(await exists(join(varDir, 'lab'))));
};
