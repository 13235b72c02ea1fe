import assert from 'node:assert/strict';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { users } from '../core/owners.ts';
import { systemAccount } from './accounts.ts';
import { type Api, withApi } from './api.testing.ts';
import { callerByApiKey, callerByLogin, callerByUserId, fullPath } from './callers.ts';
import { hoursFromUtc } from './login-reply.ts';
import { mayReach } from './principals.ts';

const person = { password: 'a good one', email: 'x@example.org', firstname: 'X', lastname: 'Y' };

test('accounts, users, keys and logins through the API', { timeout: 120_000 }, async (t) => {
  await withApi(async (api) => {
    await t.test('the first start leaves one administrator with a password in a file of his own', () => firstStart(api));
    await t.test('login and logout', () => logins(api));
    await t.test('nobody reads or changes a principal with rights he lacks', () => rights(api));
    await t.test('names and types of accounts', () => names(api));
    await t.test('a user is changed by himself, with his password, and by his administrators', () => changes(api));
    await t.test('whoever is disabled, locked or removed is nobody', () => nobodies(api));
    await t.test('an account shows what it has', () => holdings(api));
  });
});

async function firstStart({ services, admin }: Api) {
  const path = join(services.config.varDirectory, 'admin-password');
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  const { body } = await admin('listAccounts', { listall: 'true' });
  assert.deepEqual(
    body.account.map(({ name }: { name: string }) => name),
    ['admin'],
    'the system account is in no list',
  );
  assert.equal(body.account[0].accounttype, 1);
  assert.equal(body.account[0].domainpath, 'ROOT');
  assert.equal(body.account[0].rolename, 'Root Admin');
  assert.equal((await systemAccount(services.db.read)).number, 1);
  assert.equal((await admin('listDomains')).body.count, 1);
  assert.equal((await admin('listRoles')).body.count, 3);
  const rows = await services.db.read.find(users);
  assert.equal(rows.length, 1);
  assert.match(rows[0]?.passwordHash ?? '', /^scrypt\$/);
  assert.ok(!JSON.stringify(rows).includes((await readFile(path, 'utf8')).trim()));
}

async function logins({ post, adminPassword, services }: Api) {
  const good = await post({ command: 'login', username: 'admin', password: adminPassword, domain: '/' });
  assert.equal(good.status, 200);
  assert.deepEqual(
    { type: good.body.type, timeout: good.body.timeout, registered: good.body.registered, is2faenabled: good.body.is2faenabled },
    { type: '1', timeout: 1800, registered: 'false', is2faenabled: 'false' },
  );
  const cookies = good.headers
    .getSetCookie()
    .map((cookie) => cookie.split(';')[0])
    .join('; ');
  const session = { sessionkey: good.body.sessionkey };
  assert.equal((await post({ command: 'listUsers', ...session }, cookies)).body.count, 1);
  assert.deepEqual((await post({ command: 'logout', ...session }, cookies)).body, { description: 'success' });
  assert.equal((await post({ command: 'listUsers', ...session }, cookies)).status, 401);
  assert.equal((await post({ command: 'logout', ...session }, cookies)).status, 431);
  for (const params of [
    { username: 'admin', password: 'wrong' },
    { username: 'nobody', password: 'wrong' },
    { username: 'admin', password: adminPassword, domain: '/elsewhere' },
    { username: 'admin', password: adminPassword, domainId: '1' },
  ]) {
    const bad = await post({ command: 'login', ...params });
    assert.equal(bad.status, 531, JSON.stringify(params));
    assert.equal('cserrorcode' in bad.body, false);
    assert.equal(
      bad.headers.getSetCookie().some((cookie) => /^JSESSIONID=./.test(cookie)),
      false,
    );
  }
  assert.equal(await callerByLogin(services.db, { username: 'system', password: '' }), null);
  // Guesses, also many at once, are soon made to wait; so is the right password then, and other users' logins are not.
  const guesses = await Promise.all(
    Array.from({ length: 12 }, (_, index) => post({ command: 'login', username: 'guessed', password: `wrong ${index}` })),
  );
  // More than five only where the twelve took longer than the waits of 1 and 2 seconds.
  const tried = guesses.filter(({ status }) => status === 531).length;
  assert.ok(tried >= 5 && tried <= 8, String(tried));
  const [late] = guesses.filter(({ status }) => status !== 531);
  assert.equal(late?.status, 429);
  assert.match(late?.body.errortext ?? '', /try again in \d seconds/);
  assert.equal((await post({ command: 'login', username: 'admin', password: adminPassword })).status, 200);
}

async function rights({ admin, account, services }: Api) {
  const { domain: a } = (await admin('createDomain', { name: 'a' })).body;
  const { domain: b } = (await admin('createDomain', { name: 'b' })).body;
  const { domain: below } = (await admin('createDomain', { name: 'below', parentdomainid: a.id })).body;
  assert.equal(below.path, 'ROOT/a/below');
  const boss = await account('boss', { accounttype: '2', domainid: a.id });
  const worker = await account('worker', { accounttype: '0', domainid: a.id });
  const deep = await account('deep', { accounttype: '2', domainid: below.id });
  const stranger = await account('stranger', { accounttype: '0', domainid: b.id });
  // A domain admin of ROOT stands beside the root admins and below them.
  const rootBoss = await account('rootboss', { accounttype: '2' });
  const adminUser = (await admin('listUsers', { listall: 'true', username: 'admin' })).body.user[0].id;

  const reach = async (call: Api['admin'], id: string) => {
    const results = await Promise.all([call('getUserKeys', { id }), call('listUsers', { id })]);
    const statuses = new Set(results.map(({ status }) => status));
    assert.equal(statuses.size, 1, 'reading and listing agree');
    return results[0]?.status === 200;
  };
  const everyone = { boss, worker, deep, stranger, rootBoss };
  const wanted: Record<keyof typeof everyone, (keyof typeof everyone)[]> = {
    boss: ['boss', 'worker', 'deep'],
    worker: ['worker'],
    deep: ['deep'],
    stranger: ['stranger'],
    rootBoss: ['boss', 'worker', 'deep', 'stranger', 'rootBoss'],
  };
  for (const [name, { call }] of Object.entries(everyone)) {
    for (const [other, { userId }] of Object.entries(everyone)) {
      const may = wanted[name as keyof typeof everyone].includes(other as keyof typeof everyone);
      assert.equal(await reach(call, userId), may, `${name} reaches ${other}`);
    }
    const refused = await call('registerUserKeys', { id: adminUser });
    assert.equal(refused.status, 431, `${name} changes the keys of a root admin`);
    assert.match(refused.body.errortext, /Invalid parameter id value=.* due to incorrect long value format, or entity does not exist/);
    const seen = (await call('listUsers', { listall: 'true' })).body.user.map(({ username }: { username: string }) => username);
    assert.deepEqual(
      seen.sort(),
      wanted[name as keyof typeof everyone].map((each) => each.toLowerCase()).sort(),
      `users that ${name} sees`,
    );
  }
  assert.deepEqual(
    (await worker.call('listAccounts', { listall: 'true' })).body.account.map(({ name }: { name: string }) => name),
    ['worker'],
  );
  assert.equal((await worker.call('createUser', { account: 'worker', username: 'w2', ...person })).status, 432);
  assert.equal((await worker.call('getUser', { userapikey: worker.keys.apikey })).status, 432);
  assert.equal((await boss.call('getUser', { userapikey: worker.keys.apikey })).status, 432);
  assert.equal((await admin('getUser', { userapikey: worker.keys.apikey })).body.user.username, 'worker');

  // Nobody makes an account that may do more than he, by number or by role, in his domain or another.
  const { role: roles } = (await admin('listRoles')).body;
  const rootRole = roles.find(({ type }: { type: string }) => type === 'Admin').id;
  assert.equal((await boss.call('createAccount', { username: 'e1', accounttype: '1', ...person })).status, 531);
  assert.equal((await rootBoss.call('createAccount', { username: 'e2', accounttype: '1', ...person })).status, 531);
  assert.equal((await rootBoss.call('createAccount', { username: 'e3', roleid: rootRole, ...person })).status, 431);
  assert.equal((await boss.call('createAccount', { username: 'e4', accounttype: '0', domainid: b.id, ...person })).status, 431);
  assert.equal((await deep.call('createAccount', { username: 'e5', accounttype: '0', domainid: a.id, ...person })).status, 431);
  assert.equal((await rootBoss.call('createUser', { username: 'e6', account: 'admin', ...person })).status, 431);
  assert.equal((await admin('createUser', { username: 'e7', account: 'system', ...person })).status, 531);
  assert.equal((await deep.call('createDomain', { name: 'x', parentdomainid: a.id })).status, 431);
  assert.equal((await boss.call('createAccount', { username: 'e8', accounttype: '2', domainid: below.id, ...person })).status, 200);
  assert.equal((await boss.call('listRoles')).body.count, 2);

  // New keys end the old ones.
  const fresh = (await worker.call('registerUserKeys', { id: worker.userId })).body.userkeys;
  assert.notEqual(fresh.secretkey, worker.keys.secretkey);
  assert.equal((await worker.call('listUsers')).status, 401);
  const stored = await services.db.read.findOneByOrFail(users, { id: worker.userId as never });
  assert.ok(!stored.secretKey?.includes(fresh.secretkey), 'the secret key is sealed at rest');
}

async function names({ admin }: Api) {
  const create = (params: Record<string, string>) => admin('createAccount', { ...person, ...params });
  assert.equal((await create({ username: 'twin', accounttype: '0' })).status, 200);
  assert.match((await create({ username: 'twin', accounttype: '0' })).body.errortext, /twin already exists/);
  assert.match((await create({ username: 'TWIN', account: 'other', accounttype: '0' })).body.errortext, /TWIN already exists/);
  assert.equal((await create({ username: 'n1', accounttype: '7' })).status, 431);
  assert.equal((await create({ username: 'n2' })).status, 431);
  assert.equal((await create({ username: ' n3', accounttype: '0' })).status, 431);
  assert.equal((await create({ username: 'n4', accounttype: '0', timezone: 'Mars/Olympus' })).status, 431);
  const missing = await admin('createAccount', { username: 'n5', accounttype: '0' });
  assert.match(missing.body.errortext, /^Unable to execute API command createaccount due to missing parameter password$/);
  const { domain } = (await admin('createDomain', { name: 'names' })).body;
  assert.match((await create({ username: 'n6', accounttype: '1', domainid: domain.id })).body.errortext, /only be in the domain ROOT/);
  assert.equal((await create({ username: 'twin', accounttype: '0', domainid: domain.id })).status, 200, 'the name is free elsewhere');
  assert.match((await admin('createDomain', { name: 'names' })).body.errortext, /already exists/);
  assert.equal((await admin('createDomain', { name: 'a/b' })).status, 431);
  const attempts = await Promise.all(Array.from({ length: 6 }, () => create({ username: 'race', accounttype: '0' })));
  assert.equal(attempts.filter(({ status }) => status === 200).length, 1, 'of many at once one is made');
  const listed = (await admin('listAccounts', { listall: 'true', pagesize: '1', page: '2' })).body;
  assert.equal(listed.account.length, 1);
  assert.ok(listed.count > 3);
}

async function changes({ account, admin, post, services }: Api) {
  const { call, userId: id } = await account('changing', { accounttype: '0' });
  const other = await account('steady', { accounttype: '0' });
  const login = async (username: string, password: string) => (await post({ command: 'login', username, password })).status;
  const before = await services.db.read.findOneByOrFail(users, { id: id as never });

  const shown = (await call('updateUser', { id, firstname: 'New', lastname: 'Name', email: 'new@example.org', timezone: 'Europe/Berlin' }))
    .body;
  const { firstname, lastname, email, timezone, username } = shown.user;
  assert.deepEqual([firstname, lastname, email, timezone, username], ['New', 'Name', 'new@example.org', 'Europe/Berlin', 'changing']);
  assert.equal((await call('updateUser', { id })).body.user.firstname, 'New', 'what is not given stays');
  assert.equal((await call('updateUser', { id, timezone: 'Mars/Olympus' })).status, 431);
  assert.equal((await call('updateUser', { id, username: ' blank' })).status, 431);
  assert.match((await call('updateUser', { id, username: 'STEADY' })).body.errortext, /already exists/);
  assert.equal((await call('updateUser', { id: other.userId, firstname: 'Not mine' })).status, 431);

  assert.match((await call('updateUser', { id, password: 'the next' })).body.errortext, /current password must be provided/);
  const wrong = { id, password: 'the next', currentpassword: 'wrong', firstname: 'Stays' };
  assert.match((await call('updateUser', wrong)).body.errortext, /Current password is incorrect/);
  assert.equal((await call('listUsers', { id })).body.user[0].firstname, 'New', 'nothing of a refused change is done');
  assert.equal(await login('changing', 'password of changing'), 200);
  assert.equal((await call('updateUser', { id, password: 'the next', currentpassword: 'password of changing' })).status, 200);
  assert.deepEqual([await login('changing', 'password of changing'), await login('changing', 'the next')], [531, 200]);

  // Sessions that the old password opened end when an administrator gives another one; he need not know the old one.
  const open = () => services.db.rows('SELECT id FROM session WHERE user_id = ?', [id]);
  assert.ok((await open()).length > 0);
  assert.equal((await admin('updateUser', { id, password: 'given', username: 'changed' })).body.user.username, 'changed');
  assert.equal((await open()).length, 0);
  assert.deepEqual(
    [await login('changing', 'given'), await login('changed', 'the next'), await login('changed', 'given')],
    [531, 531, 200],
  );
  for (let tries = 0; tries < 5; tries += 1) assert.equal((await call('updateUser', wrong)).status, 431);
  const guessed = await call('updateUser', { ...wrong, currentpassword: 'given' });
  assert.match(guessed.body.errortext, /Too many .* have failed/, 'who has the keys alone cannot find out the password by trying');

  const after = await services.db.read.findOneByOrFail(users, { id: id as never });
  assert.match(after.passwordHash, /^scrypt\$/);
  assert.notEqual(after.passwordHash, before.passwordHash);
  const events = (await admin('listEvents', { type: 'USER.UPDATE', listall: 'true' })).body.event;
  assert.ok(!JSON.stringify(events).includes('the next'));
}

async function nobodies({ account, services, as }: Api) {
  const gone = await account('gone', { accounttype: '0' });
  const { db } = services;
  const login = { username: 'gone', password: 'password of gone' };
  const found = async () => [
    (await callerByApiKey(services, gone.keys.apikey)) !== null,
    (await callerByUserId(db, gone.userId as never)) !== null,
    (await callerByLogin(db, login)) !== null,
    (await as(gone.keys)('listUsers')).status === 200,
  ];
  assert.deepEqual(await found(), [true, true, true, true]);
  for (const [table, id] of [
    ['`user`', gone.userId],
    ['account', gone.accountId],
  ]) {
    for (const state of ['disabled', 'locked']) {
      await db.rows(`UPDATE ${table} SET state = ? WHERE id = ?`, [state, id]);
      assert.deepEqual(await found(), [false, false, false, false], `${table} ${state}`);
    }
    await db.rows(`UPDATE ${table} SET state = 'enabled', removed_at = NOW(3) WHERE id = ?`, [id]);
    assert.deepEqual(await found(), [false, false, false, false], `${table} removed`);
    await db.rows(`UPDATE ${table} SET removed_at = NULL WHERE id = ?`, [id]);
  }
  assert.deepEqual(await found(), [true, true, true, true]);
}

async function holdings({ account, services, admin }: Api) {
  const owner = await account('owner', { accounttype: '0' });
  const { db } = services;
  // Without strict mode, columns that do not matter here get a value by themselves.
  const machine = (n: number, state: string) =>
    db.rows(
      `SET STATEMENT sql_mode = '' FOR INSERT INTO machine (id, kind, instance_name, account_id, state, cpu_count, memory_mib)
         VALUES (UUID(), 'guest', ?, ?, ?, 2, 512)`,
      [`i-9-${n}-VM`, owner.accountId, state],
    );
  await machine(1, 'Running');
  await machine(2, 'Stopped');
  await machine(3, 'Destroyed');
  const [shown] = (await admin('listAccounts', { id: owner.accountId })).body.account;
  assert.deepEqual(
    [
      shown.vmtotal,
      shown.vmrunning,
      shown.vmstopped,
      shown.cputotal,
      shown.memorytotal,
      shown.volumetotal,
      shown.networktotal,
      shown.iptotal,
    ],
    [2, 1, 1, 4, 1024, 0, 0, 0],
  );
}

test('rules on principals and paths', () => {
  const target = { type: 'user', domainPath: '/a/', accountId: 'a' as never, userId: 'u' as never } as const;
  const caller = { accountType: 'user', domainPath: '/a/', accountId: 'a' as never, userId: 'v' as never } as const;
  assert.equal(mayReach(caller, target, 'list'), false, 'another user of the same account');
  assert.equal(mayReach({ ...caller, accountType: 'domainAdmin', domainPath: '/ab/' }, target, 'list'), false);
  assert.equal(mayReach({ ...caller, accountType: 'domainAdmin' }, target, 'operate'), true);
  assert.equal(mayReach({ ...caller, accountType: 'domainAdmin' }, { ...target, type: 'admin' }, 'list'), false);
  assert.equal(fullPath(''), '/');
  assert.equal(fullPath('a/b'), '/a/b/');
  assert.equal(hoursFromUtc('Asia/Kolkata', new Date('2026-01-01')), '5.5');
  assert.equal(hoursFromUtc('America/New_York', new Date('2026-01-01')), '-5.0');
  assert.equal(hoursFromUtc('Etc/UTC', new Date('2026-01-01')), '0.0');
});
