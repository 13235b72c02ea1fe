/**
 * The real cloud for end-to-end tests: management server, two lab hosts with libvirt and QEMU, system VMs, guests. Every file of tests takes it up,
 * which is quick when it is up already; the last file takes it down.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Client, eventually, type Reply } from '../../lab/client.ts';
import { type CommandResult, command } from '../../lab/command.ts';
import { adminClient, readDemo } from '../../lab/demo.ts';
import { apiUrl, pathsOf, varDirectory } from '../../lab/installation.ts';
import { inHost, inNamespace } from '../../lab/lab.ts';
import { reporter } from '../../lab/progress.ts';
import { up } from '../../lab/up.ts';
import { readConfig } from '../../management/config.ts';
import { openDatabase } from '../../management/core/db.ts';
import { openSecrets } from '../../management/core/secrets.ts';
import { cloudSshKey } from '../../management/core/ssh-key.ts';
import { coreTables } from '../../management/core/tables.ts';
import { CloudError } from '../../protocol/errors.ts';
import { createLog } from '../../protocol/log.ts';

export const hostNames = ['nephos-h1', 'nephos-h2'] as const;

export interface RealCloud {
  readonly varDir: string;
  readonly admin: Client;
  /** The tenant that `up` makes, with the network and the machine it makes for them. */
  readonly demo: Client;
  readonly networkId: string;
  readonly vmId: string;
  readonly zoneId: string;
  /** The tiny guest. */
  readonly templateId: string;
  readonly serviceOfferingId: string;
  readonly networkOfferingId: string;
}

/** Private keys and the like, for as long as the process of these tests lives. */
const scratch = mkdtempSync(join(tmpdir(), 'nephos-e2e-'));
process.once('exit', () => rmSync(scratch, { recursive: true, force: true }));

let shared: Promise<RealCloud> | null = null;
export const realCloud = (): Promise<RealCloud> => {
  shared ??= takeUp();
  return shared;
};

async function takeUp(): Promise<RealCloud> {
  const varDir = varDirectory;
  // Who writes a test can try it on the cloud as it runs, without a build and a restart.
  if (!process.env['NEPHOS_E2E_AS_IT_RUNS']) await up({ varDir, hosts: hostNames.length, guests: ['tiny'], steps: reporter() });
  const admin = await adminClient(varDir);
  const known = await readDemo(varDir);
  assert.ok(known.demo && known.zoneId && known.networkId && known.vmId, 'the demo tenant is there');
  const only = async (command: string, params: Record<string, string>): Promise<string> => {
    const [found] = await admin.list(command, params);
    assert.ok(found, `${command} finds ${JSON.stringify(params)}`);
    return found.id;
  };
  return {
    varDir,
    admin,
    demo: new Client(apiUrl, known.demo.keys),
    networkId: known.networkId,
    vmId: known.vmId,
    zoneId: known.zoneId,
    templateId: (await admin.list('listVirtualMachines', { id: known.vmId, listall: true }))[0].templateid,
    serviceOfferingId: await only('listServiceOfferings', { name: 'Small Instance' }),
    networkOfferingId: await only('listNetworkOfferings', { name: 'DefaultIsolatedNetworkOfferingWithSourceNatService' }),
  };
}

export interface Tenant {
  readonly account: string;
  readonly domainId: string;
  /** A small one, so that the machine need not be large. */
  readonly serviceOfferingId: string;
  readonly client: Client;
  readonly network: (name: string) => Promise<Reply>;
  /** Deploys the tiny guest and waits for the job. */
  readonly deploy: (params: Record<string, string | number | undefined>) => Promise<Reply>;
  /** Destroys what the tenant has: machines, then networks, keys, and the account when it can be. */
  readonly remove: () => Promise<void>;
}

/**
 * Tests that each go on where the one before ended, as top-level tests of a file run anyway. After one that fails the others are not tried: they could
 * only say the same in other words.
 */
export function inOrder(): (title: string, options: { readonly timeout?: number }, run: (t: TestContext) => Promise<void>) => void {
  let failed: string | null = null;
  return (title, { timeout = 150_000 }, run) => {
    test(title, { timeout }, async (t) => {
      if (failed !== null) throw new CloudError('WrongState', `not tried, because this failed before: ${failed}`);
      failed = title;
      await run(t);
      failed = null;
    });
  };
}

/** A tenant of the test's own, with keys. */
export async function tenant(cloud: RealCloud, name: string): Promise<Tenant> {
  const { admin, zoneId, templateId, networkOfferingId } = cloud;
  const account = `${name}-${randomBytes(3).toString('hex')}`;
  const made = await admin.call('createAccount', {
    accounttype: 0,
    username: account,
    account,
    password: randomBytes(12).toString('hex'),
    email: `${account}@example.test`,
    firstname: 'End',
    lastname: 'To End',
  });
  const { userkeys } = await admin.call('registerUserKeys', { id: made.account.user[0].id });
  const client = new Client(apiUrl, { apiKey: userkeys.apikey, secretKey: userkeys.secretkey });
  const domainId = made.account.domainid;
  const size = { cpunumber: 1, cpuspeed: 200, memory: 256 };
  const { serviceoffering } = await admin.call('createServiceOffering', { name: account, displaytext: 'Of an end-to-end test', ...size });
  const serviceOfferingId = serviceoffering.id;
  return {
    account,
    domainId,
    serviceOfferingId,
    client,
    network: async (networkName) =>
      (
        await client.call('createNetwork', {
          name: networkName,
          displaytext: networkName,
          zoneid: zoneId,
          networkofferingid: networkOfferingId,
        })
      ).network,
    // As root, who may choose the host; what is made is the tenant's.
    deploy: async (params) =>
      (
        await admin.run(
          'deployVirtualMachine',
          { zoneid: zoneId, templateid: templateId, serviceofferingid: serviceOfferingId, account, domainid: domainId, ...params },
          { timeoutSeconds: 300, pollMs: 200 },
        )
      ).virtualmachine,
    remove: async () => {
      for (const { id } of await client.list('listVirtualMachines'))
        await admin.run('destroyVirtualMachine', { id, expunge: true }, { timeoutSeconds: 120 });
      for (const { id } of await client.list('listNetworks')) await admin.run('deleteNetwork', { id }, { timeoutSeconds: 180 });
      for (const { id } of await admin.list('listServiceOfferings', { name: account })) await admin.call('deleteServiceOffering', { id });
    },
  };
}

/** Runs a program as root of a lab host, and gives what it printed. */
export const onHost = async (host: string, file: string, ...args: string[]): Promise<string> =>
  (await inHost(host, file, args, { timeoutSeconds: 60 })).stdout;

/** The running machines of a host as libvirt has them, by name. */
export const domainsOf = async (host: string): Promise<string[]> =>
  (await onHost(host, 'virsh', '-q', 'list', '--all', '--name')).split('\n').filter(Boolean).sort();

/** What a machine has written to its serial port since it was started. */
export const serialLog = async (host: string, machineId: string): Promise<string> =>
  (await inHost(host, 'cat', [`/var/lib/nephos-agent/serial/${machineId}.log`], { timeoutSeconds: 20, acceptedCodes: [1] })).stdout;

/** Waits for a line of a guest's serial port, such as `NEPHOS-GUEST ready`. */
export const guestSays = (host: string, machineId: string, words: string, timeoutSeconds = 90): Promise<string> =>
  eventually(
    `the guest says ${words}`,
    async () => (await serialLog(host, machineId)).split('\n').find((line) => line.includes(`NEPHOS-GUEST ${words}`)),
    { timeoutSeconds, everyMs: 300 },
  );

let cloudKey: Promise<string> | null = null;
/** A file with the private key of the cloud, which opens system VMs; read once, until `forgetCloudKey`. */
export const cloudKeyFile = (varDir: string): Promise<string> => {
  cloudKey ??= (async () => {
    const config = readConfig(pathsOf(varDir).config);
    const db = await openDatabase(config.database, coreTables as never, [], createLog('e2e', { level: 'silent' }));
    try {
      const { privateKey } = await cloudSshKey({ db, secrets: await openSecrets(config.varDirectory) });
      return await keyFile(privateKey.reveal());
    } finally {
      await db.source.destroy();
    }
  })();
  return cloudKey;
};

/** After a change of the key: the next look reads the new one. */
export const forgetCloudKey = (): void => {
  cloudKey = null;
};

export async function keyFile(privateKey: string): Promise<string> {
  const path = join(scratch, `key-${randomBytes(6).toString('hex')}`);
  await writeFile(path, privateKey.endsWith('\n') ? privateKey : `${privateKey}\n`, { mode: 0o600 });
  return path;
}

const sshOptions = [
  ...['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'LogLevel=ERROR', 'ConnectTimeout=15', 'ServerAliveInterval=5'].flatMap(
    (option) => ['-o', option],
  ),
  ...['-o', 'IdentitiesOnly=yes'],
];
const keyOptions = (file: string): string[] => ['-i', file, '-o', 'BatchMode=yes', '-o', 'PreferredAuthentications=publickey'];

/** Runs a line of shell in a system VM, over the control network of its host. */
export async function inSystemVm(cloud: RealCloud, vm: Reply, line: string, timeoutSeconds = 60): Promise<string> {
  const { hostname, linklocalip } = vm;
  const args = [...sshOptions, ...keyOptions(await cloudKeyFile(cloud.varDir)), '-p', '3922', `root@${linklocalip}`, line];
  return (await inNamespace(hostname, 'ssh', args, { timeoutSeconds })).stdout;
}

export interface Station {
  readonly namespace: string;
  readonly device: string;
  /** Runs a program at the station. */
  readonly run: (
    file: string,
    args: readonly string[],
    options?: { timeoutSeconds?: number; acceptedCodes?: readonly number[] },
  ) => Promise<CommandResult>;
  /** Runs a line of shell in a guest, as root, by key or by password. */
  readonly guest: (address: string, login: { key: string } | { password: string }, line: string) => Promise<string>;
  readonly remove: () => Promise<void>;
}

/**
 * One more station on a tenant's network: a namespace plugged into the network's bridge on one host. Like a guest it hears that network alone; unlike
 * one, no rule of the host watches it.
 */
export async function station(host: string, vni: number, address: string | null): Promise<Station> {
  const namespace = `nephos-e2e-${vni}`;
  const port = `e2e-${vni}`;
  const device = 'eth0';
  const brief = { timeoutSeconds: 20 };
  const ip = (...args: string[]) => inNamespace(host, 'ip', args, brief);
  const inside = (...args: string[]) => inNamespace(namespace, 'ip', args, brief);
  await command('ip', ['netns', 'add', namespace], brief);
  const remove = async (): Promise<void> => {
    await inNamespace(host, 'ip', ['link', 'delete', 'dev', port], { ...brief, acceptedCodes: [1] });
    await command('ip', ['netns', 'delete', namespace], { ...brief, acceptedCodes: [1] });
  };
  try {
    await ip('link', 'add', 'name', port, 'mtu', '1450', 'type', 'veth', 'peer', 'name', device, 'mtu', '1450', 'netns', namespace);
    await ip('link', 'set', 'dev', port, 'master', `brvx-${vni}`, 'up');
    await inside('link', 'set', 'dev', 'lo', 'up');
    await inside('link', 'set', 'dev', device, 'up');
    if (address !== null) await inside('address', 'add', `${address}/24`, 'dev', device);
  } catch (error) {
    await remove();
    throw error;
  }
  return {
    namespace,
    device,
    run: (file, args, options = {}) => inNamespace(namespace, file, args, { timeoutSeconds: 60, ...options }),
    guest: async (guestAddress, login, line) => {
      if ('key' in login) {
        const args = [...sshOptions, ...keyOptions(login.key), `root@${guestAddress}`, line];
        return (await inNamespace(namespace, 'ssh', args, { timeoutSeconds: 60 })).stdout;
      }
      // ssh asks this program for the password, which so stands in no argument list.
      const asked = join(scratch, `ask-${randomBytes(6).toString('hex')}`);
      await writeFile(asked, `#!/bin/sh\ncat <<'NEPHOS-E2E'\n${login.password}\nNEPHOS-E2E\n`, { mode: 0o700 });
      const only = ['PreferredAuthentications=password', 'PubkeyAuthentication=no', 'NumberOfPasswordPrompts=1'].flatMap((o) => ['-o', o]);
      const environment = { SSH_ASKPASS: asked, SSH_ASKPASS_REQUIRE: 'force' };
      return (
        await inNamespace(namespace, 'ssh', [...sshOptions, ...only, `root@${guestAddress}`, line], { timeoutSeconds: 60, environment })
      ).stdout;
    },
    remove,
  };
}

export interface Capture {
  /** Ends it and gives what was seen, a line for each packet (or several, with `-v`). */
  readonly stop: () => Promise<string[]>;
}

/** Watches a device of a lab host, or of any namespace, with tcpdump; `as` names a protocol that it does not know by its port. */
export async function capture(
  namespace: string,
  device: string,
  filter: string,
  seconds = 60,
  as: 'vxlan' | null = null,
): Promise<Capture> {
  const file = join(scratch, `capture-${randomBytes(6).toString('hex')}.pcap`);
  // The time limit ends it also when a test never comes to its stop.
  const program = ['timeout', '--signal=INT', String(seconds), 'tcpdump', '-i', device, '-U', '-Z', 'root', '-w', file, '--', filter];
  const watching = spawn('ip', ['netns', 'exec', namespace, ...program], { stdio: 'ignore' });
  const ended = once(watching, 'exit');
  await eventually('tcpdump watches', async () => (await readFile(file).catch(() => null))?.length, { timeoutSeconds: 10, everyMs: 50 });
  return {
    stop: async () => {
      // What was sent a moment ago is still in the kernel's buffer.
      await new Promise((resolve) => setTimeout(resolve, 1100));
      watching.kill('SIGINT');
      await ended;
      const { stdout } = await inNamespace(namespace, 'tcpdump', ['-nn', '-e', '-v', ...(as === null ? [] : ['-T', as]), '-r', file], {
        timeoutSeconds: 30,
      });
      return stdout.split('\n').filter(Boolean);
    },
  };
}

/** The number of a network on the wire. */
export const vniOf = async ({ admin }: RealCloud, networkId: string): Promise<number> => {
  const [network] = await admin.list('listNetworks', { id: networkId, listall: true });
  const vni = Number(/^vxlan:\/\/(\d+)$/.exec(network?.broadcasturi ?? '')?.[1]);
  assert.ok(vni > 0, `the network has a number: ${network?.broadcasturi}`);
  return vni;
};

export const routerOf = async ({ admin }: RealCloud, networkId: string): Promise<Reply> => {
  const routers = await admin.list('listRouters', { networkid: networkId, listall: true });
  assert.equal(routers.length, 1, 'the network has one router');
  return routers[0];
};

export const vmOf = async ({ admin }: RealCloud, id: string): Promise<Reply> =>
  (await admin.list('listVirtualMachines', { id, listall: true }))[0];

/** What a host holds for machines and networks, in the words of the programs that know: domains, devices, forwarding, rules, files. */
export async function traceOf(host: string): Promise<Record<string, string>> {
  // What a machine has said on its serial port is kept for some days, for whoever asks why it died; that is no trace in this sense.
  const files = ['/var/lib/nephos/primary/volumes', '/var/lib/nephos-agent/documents', '/etc/libvirt/qemu'];
  return {
    domains: await onHost(host, 'virsh', '-q', 'list', '--all', '--name'),
    links: await onHost(host, 'ip', 'link'),
    // Only what was set: bridges learn by themselves whom they have heard, and forget within minutes.
    forwarding: (await onHost(host, 'bridge', 'fdb', 'show'))
      .split('\n')
      .filter((line) => / self permanent$/.test(line))
      .join('\n'),
    rules: await onHost(host, 'nft', 'list', 'ruleset'),
    files: (await inHost(host, 'ls', ['-R', '--', ...files], { timeoutSeconds: 20, acceptedCodes: [2] })).stdout,
  };
}
