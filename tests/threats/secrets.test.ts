/** Class 9, secrets that leak: each is planted with a unique value, and then looked for in everything that stays behind. */
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createConnection, type RowDataPacket } from 'mysql2/promise';
import { Client, eventually } from '../../lab/client.ts';
import { createScratchDatabase, type ServiceConnections } from '../../lab/services.ts';
import { openSecrets } from '../../management/core/secrets.ts';
import type { FromCloud, ToCloud } from './cloud-process.ts';

const canary = (): string => `Canary${randomBytes(12).toString('hex')}`;

/** Every command that Redis is given from now on, also for what is gone again at the end. */
function watchRedis(path: string): { text: () => string; end: () => void } {
  const socket = connect({ path }, () => socket.write('MONITOR\r\n'));
  const seen: Buffer[] = [];
  socket.on('data', (data) => seen.push(data));
  socket.on('error', () => {});
  return { text: () => Buffer.concat(seen).toString('latin1'), end: () => socket.destroy() };
}

/** All rows of all tables, by table. */
async function wholeDatabase({ socketPath, user, password, database }: ServiceConnections['database']): Promise<Map<string, string>> {
  const session = await createConnection({ socketPath, user, password, database });
  try {
    const [tables] = await session.query<RowDataPacket[]>(
      'SELECT table_name AS name FROM information_schema.tables WHERE table_schema = ?',
      [database],
    );
    const all = new Map<string, string>();
    for (const { name } of tables) {
      const [rows] = await session.query<RowDataPacket[]>(`SELECT * FROM \`${name}\``);
      all.set(
        name,
        rows
          .map((row) =>
            Object.values(row)
              .map((value) => (Buffer.isBuffer(value) ? value.toString('latin1') : value instanceof Date ? '' : String(value)))
              .join('\t'),
          )
          .join('\n'),
      );
    }
    return all;
  } finally {
    await session.end();
  }
}

/** The ways in which text usually ends up somewhere else. */
const shapesOf = (secret: string): string[] => [
  secret,
  encodeURIComponent(secret),
  Buffer.from(secret).toString('hex'),
  // Base64 of something longer that holds it, without the characters at either end, which depend on what stands beside it.
  ...[0, 1, 2].map((shift) => {
    const text = Buffer.from(`${'x'.repeat(shift)}${secret}`)
      .toString('base64')
      .replace(/=+$/, '');
    return text.slice(shift === 0 ? 0 : shift + 1, -2);
  }),
];
/** Names of the secrets that occur in `text`. */
const found = (secrets: ReadonlyMap<string, string>, text: string): string[] =>
  [...secrets].filter(([, secret]) => shapesOf(secret).some((shape) => text.includes(shape))).map(([name]) => name);

test('the search finds a secret in each of its shapes', () => {
  const secret = canary();
  const secrets = new Map([['it', secret]]);
  for (const text of [
    `{"password":"${secret}"}`,
    Buffer.from(`user:${secret}:more`).toString('base64'),
    Buffer.from(`us:${secret}`).toString('base64'),
    Buffer.from(`u:${secret}?`).toString('base64'),
    Buffer.from(secret).toString('hex'),
  ]) {
    assert.deepEqual(found(secrets, text), ['it'], text);
  }
  assert.deepEqual(found(secrets, canary()), []);
});

/** A line of the private half of the cloud's ssh key as it is now, of where the secret part stands. */
async function cloudKeyLine(
  { socketPath, user, password, database }: ServiceConnections['database'],
  varDirectory: string,
): Promise<string> {
  const session = await createConnection({ socketPath, user, password, database });
  try {
    const [rows] = await session.query<RowDataPacket[]>(`SELECT value FROM kept WHERE name = 'sshKey'`);
    const box = await openSecrets(varDirectory);
    const lines: string[] = JSON.parse(box.open(String(rows[0]?.['value'])).reveal())
      .privateKey.split('\n')
      .slice(1);
    // The format begins with the public half; the seed stands some 165 bytes behind the begin.
    return lines[Math.floor(225 / (lines[0]?.length ?? 70))] ?? '';
  } finally {
    await session.end();
  }
}

test('SV-19 SV-16 class 9: no secret is in the log, the database, Redis or the list of processes', { timeout: 150_000 }, async (t) => {
  const services = await createScratchDatabase();
  t.after(() => services.drop());
  const varDirectory = await mkdtemp(join(tmpdir(), 'nephos-threats-'));
  t.after(() => rm(varDirectory, { recursive: true, force: true }));
  const redis = watchRedis(services.redis.path);
  t.after(() => redis.end());
  const child = fork(new URL('./cloud-process.ts', import.meta.url).pathname, [], {
    execArgv: ['--import', 'tsx'],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  t.after(() => void child.kill('SIGKILL'));
  const output: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (data: Buffer) => output.push(data));
  const logged = (): string => Buffer.concat(output).toString('utf8');
  const tell = (message: ToCloud): void => void child.send(message);
  const answer = async <K extends FromCloud['is']>(is: K): Promise<Extract<FromCloud, { is: K }>> => {
    const [message] = await Promise.race([
      once(child, 'message'),
      once(child, 'exit').then(() => assert.fail(`the cloud ended: ${logged().slice(-2000)}`)),
    ]);
    assert.equal(message.is, is);
    return message;
  };

  tell({ start: { services, varDirectory } });
  const { url, keys, zoneId, networkOfferingId, usual } = await answer('ready');
  const admin = new Client(url, keys);
  const secrets = new Map<string, string>([
    ['password of the administrator', (await readFile(join(varDirectory, 'admin-password'), 'utf8')).trim()],
    ['secret key of the administrator', keys.secretKey],
    ['key of all keys', (await readFile(join(varDirectory, 'master.key'))).toString('latin1').trim()],
  ]);
  const plant = (name: string, secret: string): string => {
    assert.ok(secret.length >= 8, `${name} is too short to be looked for`);
    secrets.set(name, secret);
    return secret;
  };

  const password = plant('password of a user', canary());
  const person = { email: 'c@example.com', firstname: 'C', lastname: 'C' };
  const { account } = await admin.call('createAccount', { username: 'canary', password, accounttype: 0, ...person });
  const [user] = account.user;
  const { userkeys } = await admin.call('registerUserKeys', { id: user.id });
  plant('secret key of a user', userkeys.secretkey);
  const login = async (word: string, inUrl = false) => {
    const body = new URLSearchParams({ command: 'login', username: 'canary', password: word, response: 'json' });
    return inUrl ? fetch(`${url}?${body}`) : fetch(url, { method: 'POST', body });
  };
  plant('session key', Object.values<{ sessionkey: string }>(await (await login(password)).json())[0]?.sessionkey ?? '');
  assert.equal((await login(plant('wrong password', canary()))).ok, false);
  await login(plant('password in a URL', canary()), true);

  const mine = new Client(url, { apiKey: userkeys.apikey, secretKey: userkeys.secretkey });
  const { keypair } = await mine.call('createSSHKeyPair', { name: 'canary' });
  plant('private key of a key pair', keypair.privatekey.split('\n')[2]);
  const [{ id: templateid }] = (
    await admin.call('registerTemplate', {
      ...{
        name: 'canary',
        displaytext: 'canary',
        url: 'http://images.simulated.example/canary.qcow2',
        format: 'QCOW2',
        hypervisor: 'Simulator',
      },
      ...{ zoneid: zoneId, ispublic: true, passwordenabled: true },
    })
  ).template;
  await eventually(
    'the template is ready',
    async () => (await admin.list('listTemplates', { templatefilter: 'all', id: templateid }))[0]?.isready,
    {
      timeoutSeconds: 30,
    },
  );
  const { network } = await mine.call('createNetwork', { zoneid: zoneId, networkofferingid: networkOfferingId, name: 'canary' });
  const vm = (await mine.run('deployVirtualMachine', { ...usual, templateid, networkids: network.id, name: 'canary', keypair: 'canary' }))
    .virtualmachine;
  plant('password of a guest', vm.password);
  plant(
    'token of a console',
    new URL((await mine.call('createConsoleEndpoint', { virtualmachineid: vm.id })).consoleendpoint.url).searchParams.get('token') ?? '',
  );
  tell({ ask: 'machines' });
  const { machines } = await answer('machines');
  assert.ok(machines.length >= 4, 'the guest, its router and the two system VMs of the zone');
  for (const machine of machines) {
    plant(`VNC password of ${machine.id}`, machine.vncPassword);
    if (machine.bootArguments !== '') plant(`join token of ${machine.id}`, /nephos\.token=(\S+)/.exec(machine.bootArguments)?.[1] ?? '');
  }
  plant('first ssh key of the cloud', await cloudKeyLine(services.database, varDirectory));
  const { cloudsshkey } = await admin.call('rotateCloudSshKey');
  const next = plant('next ssh key of the cloud', await cloudKeyLine(services.database, varDirectory));
  assert.notEqual(next, secrets.get('first ssh key of the cloud'));
  await eventually('all system VMs know it', async () => (await admin.list('listCloudSshKeys'))[0].pending === 0);
  assert.ok(!cloudsshkey.publickey.includes(next.slice(0, 20)));
  await mine.run('stopVirtualMachine', { id: vm.id, forced: true });
  plant('later password of a guest', (await mine.run('resetPasswordForVirtualMachine', { id: vm.id })).virtualmachine.password);
  await mine.run('startVirtualMachine', { id: vm.id });
  await mine.run('destroyVirtualMachine', { id: vm.id });

  const commandLine = (await readFile(`/proc/${child.pid}/cmdline`, 'latin1')) + (await readFile(`/proc/${child.pid}/environ`, 'latin1'));
  const database = await wholeDatabase(services.database);
  assert.match(logged(), /management server is up.*agent is up/s, 'this is the log');
  assert.ok((database.get('job') ?? '').length > 500, 'the database holds the jobs');
  assert.match(redis.text(), /nephos-jobs/);
  const hits = [
    ...found(secrets, logged()).map((name) => `log: ${name}`),
    ...[...database].flatMap(([table, text]) => found(secrets, text).map((name) => `table ${table}: ${name}`)),
    ...found(secrets, redis.text()).map((name) => `Redis: ${name}`),
    ...found(secrets, commandLine).map((name) => `process: ${name}`),
  ];
  assert.deepEqual(hits, []);
  tell({ ask: 'end' });
  await once(child, 'exit');
  assert.deepEqual(found(secrets, logged()), [], 'nor does it say one at its end');
});
