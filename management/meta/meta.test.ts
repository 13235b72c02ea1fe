import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newId } from '../../protocol/ids.ts';
import { type Api, withApi } from '../account/api.testing.ts';
import { raiseAlert } from '../core/events.ts';
import { setting } from '../core/settings.ts';
import { type JobRow, jobs } from '../core/tables.ts';
import { outcome } from './job-view.ts';

const scoped = setting.integer('test.scoped', 1, { about: 'For tests.', scopes: ['global', 'zone', 'account', 'domain'] });

test('commands of the machinery through the API', { timeout: 120_000 }, async (t) => {
  await withApi(
    async (api) => {
      await t.test('listApis tells each role what it may call, whole', () => apis(api));
      await t.test('listCapabilities is one object without a count', () => capabilities(api));
      await t.test('jobs are told to their owners, as clients expect', () => asyncJobs(api));
      await t.test('events and alerts', () => history(api));
      await t.test('settings by scope', () => configurations(api));
    },
    [scoped],
  );
});

async function apis({ admin, account, registry }: Api) {
  const { body } = await admin('listApis');
  assert.equal(body.count, body.api.length);
  assert.equal(body.count, registry.commands.filter(({ access }) => access !== 'public').length);
  for (const api of body.api) {
    assert.deepEqual([typeof api.name, typeof api.description, typeof api.isasync], ['string', 'string', 'boolean']);
    for (const param of api.params) {
      assert.deepEqual(
        [typeof param.name, typeof param.description, typeof param.type, typeof param.length, typeof param.required],
        ['string', 'string', 'string', 'number', 'boolean'],
        `${api.name} ${param.name}`,
      );
    }
    assert.ok(api.response.length > 0, api.name);
  }
  const user = await account('api-user', { accounttype: '0' });
  const names = (await user.call('listApis')).body.api.map(({ name }: { name: string }) => name);
  assert.ok(names.includes('queryAsyncJobResult') && names.includes('listApis'));
  assert.ok(!names.includes('createAccount') && !names.includes('listAlerts') && !names.includes('login'));
  const [own] = (await admin('listApis', { name: 'listAccounts' })).body.api;
  const users = own.response.find(({ name }: { name: string }) => name === 'user');
  assert.equal(users.type, 'list');
  assert.ok(
    users.response.some(({ name }: { name: string }) => name === 'username'),
    'fields of nested objects are told',
  );
  const unknown = await admin('listApis', { name: 'nothingLikeIt' });
  assert.equal(unknown.status, 530);
  assert.equal((await user.call('listApis', { name: 'createAccount' })).status, 530);
  assert.ok((await user.call('listEventTypes')).body.eventtype.some(({ name }: { name: string }) => name === 'ACCOUNT.CREATE'));
}

async function capabilities({ admin }: Api) {
  const { body } = await admin('listCapabilities');
  assert.deepEqual(Object.keys(body), ['capability']);
  assert.equal(body.capability.cloudstackversion, '4.22.0.0');
  assert.equal(body.capability.customdiskofferingmaxsize, 1024);
  assert.equal(body.capability.supportELB, 'false');
}

async function asyncJobs({ admin, account, services }: Api) {
  const { domain } = (await admin('createDomain', { name: 'jobs' })).body;
  const owner = await account('job-owner', { accounttype: '0', domainid: domain.id });
  const other = await account('job-other', { accounttype: '0', domainid: domain.id });
  const boss = await account('job-boss', { accounttype: '2', domainid: domain.id });
  const add = async (state: JobRow['state'], ended: Partial<JobRow> = {}): Promise<string> => {
    const id = newId('job');
    await services.db.read.insert(jobs, {
      id,
      saga: 'vm.deploy',
      sagaVersion: 1,
      command: 'deployVirtualMachine',
      input: {},
      state,
      epoch: 0,
      userId: owner.userId as never,
      accountId: owner.accountId as never,
      domainId: domain.id,
      requestId: 'r',
      instanceType: 'VirtualMachine',
      instanceId: newId('machine'),
      attempts: 0,
      createdAt: new Date('2026-01-02T03:04:05Z'),
      ...ended,
    } as never);
    return id;
  };
  const query = async (call: Api['admin'], jobid: string) => (await call('queryAsyncJobResult', { jobid })).body;
  for (const state of ['Queued', 'Running', 'Unwinding', 'Stuck'] as const) {
    const running = await query(owner.call, await add(state));
    assert.deepEqual([running.jobstatus, running.jobprocstatus, running.jobresultcode], [0, 0, 0]);
    assert.equal('jobresult' in running || 'jobresulttype' in running, false);
    assert.deepEqual([running.account, running.domainpath, running.created], ['job-owner', 'ROOT/jobs', '2026-01-02T03:04:05+0000']);
  }
  const done = await add('Done', { result: { virtualmachine: { id: 'x' } }, completedAt: new Date() });
  const told = await query(owner.call, done);
  assert.deepEqual([told.jobstatus, told.jobresulttype, told.jobresult], [1, 'object', { virtualmachine: { id: 'x' } }]);
  assert.deepEqual((await query(owner.call, await add('Done', { completedAt: new Date() }))).jobresult, { success: true });

  const failed = await add('Failed', {
    error: { code: 'InsufficientCapacity', message: 'host h1 has 3 MiB left' },
    completedAt: new Date(),
  });
  const forAdmin = await query(admin, failed);
  assert.deepEqual(
    [forAdmin.jobstatus, forAdmin.jobresultcode, forAdmin.jobresulttype, forAdmin.jobresult],
    [2, 533, 'object', { errorcode: 533, errortext: 'host h1 has 3 MiB left' }],
  );
  const forOwner = await query(owner.call, failed);
  assert.deepEqual(Object.keys(forOwner.jobresult), ['errorcode', 'errortext']);
  assert.match(forOwner.jobresult.errortext, /contact your administrator/, 'what the cloud is short of is not for tenants');
  const wrong = await add('Failed', { error: { code: 'InvalidParameter', message: 'the name is taken' }, completedAt: new Date() });
  assert.deepEqual((await query(owner.call, wrong)).jobresult, { errorcode: 431, errortext: 'the name is taken' });

  assert.equal((await boss.call('queryAsyncJobResult', { jobid: done })).status, 200);
  for (const [call, jobid] of [
    [other.call, done],
    [owner.call, await add('Done', { accountId: null, domainId: null, userId: null })],
    [owner.call, newId('job')],
    [owner.call, 'nonsense'],
  ] as const) {
    const refused = await call('queryAsyncJobResult', { jobid });
    assert.equal(refused.status, 431);
    assert.match(refused.body.errortext, /Invalid parameter jobid value=.* entity does not exist/);
  }
  assert.equal((await owner.call('listAsyncJobs')).body.asyncjobs.length, 8);
  assert.deepEqual((await other.call('listAsyncJobs', { listall: 'true' })).body, {});
  assert.equal((await boss.call('listAsyncJobs', { listall: 'true' })).body.count, 8);
  assert.equal((await owner.call('listAsyncJobs', { startdate: '2026-02-01' })).body.count, undefined);
}

async function history({ admin, account, services }: Api) {
  const user = await account('ev-user', { accounttype: '0' });
  await user.call('registerUserKeys', { id: user.userId });
  const { body: keys } = await admin('getUserKeys', { id: user.userId });
  const { apikey, secretkey } = keys.userkeys;
  const types = (await admin('listEvents', { type: 'ACCOUNT.CREATE', listall: 'true', keyword: 'creating account' })).body;
  assert.ok(types.count > 0);
  assert.equal(types.event[0].username, 'admin');
  assert.equal(types.event[0].state, 'Completed');
  const all = JSON.stringify((await admin('listEvents', { listall: 'true' })).body);
  for (const secret of [apikey, secretkey, 'password of ev-user']) assert.ok(!all.includes(secret), 'no secret in events');
  await admin('createAccount', { username: 'ev-user', accounttype: '0', password: 'x', email: 'e', firstname: 'f', lastname: 'l' });
  const [newest] = (await admin('listEvents', { listall: 'true', level: 'ERROR' })).body.event;
  assert.match(newest.description, /^Error while creating account: .*ev-user already exists/);
  assert.equal((await admin('listEvents', { startdate: '2030-01-01' })).body.count, undefined);

  assert.equal((await user.call('listAlerts')).status, 401, 'the old keys ended');
  const { db } = services;
  await db.transact((tx) => raiseAlert(tx, 'host', 'host h1 lost its link', { resourceId: 'h1' }));
  await db.transact((tx) => raiseAlert(tx, 'host', 'host h1 lost its link again', { resourceId: 'h1' }));
  const { alert } = (await admin('listAlerts', { type: '7' })).body;
  assert.deepEqual([alert.length, alert[0].type, alert[0].name], [1, 7, 'ALERT.COMPUTE.HOST']);
  assert.deepEqual((await admin('listAlerts', { type: '8' })).body, {});
}

async function configurations({ admin, account, services }: Api) {
  const list = async (params: Record<string, string>) => (await admin('listConfigurations', params)).body.configuration ?? [];
  const [one] = await list({ name: 'default.page.size' });
  assert.deepEqual(
    [one.value, one.defaultvalue, one.type, one.scope, one.category, one.isdynamic],
    ['500', '500', 'Number', 'Global', 'Advanced', true],
  );
  assert.ok((await list({})).length >= 4);
  assert.deepEqual(
    (await list({ category: 'storage', keyword: 'DISKOFFERING.size.max' })).map(({ name }: { name: string }) => name),
    ['custom.diskoffering.size.max'],
  );
  assert.equal((await list({ page: '2', pagesize: '1' })).length, 1);
  const update = (params: Record<string, string>) => admin('updateConfiguration', params);
  assert.equal((await update({ name: 'default.ui.page.size', value: '50' })).body.configuration.value, '50');
  assert.equal((await admin('listCapabilities')).body.capability.defaultuipagesize, 50);
  assert.equal((await admin('resetConfiguration', { name: 'default.ui.page.size' })).body.configuration.value, '20');
  for (const params of [
    { name: 'default.ui.page.size', value: 'many' },
    { name: 'default.ui.page.size', value: '0' },
    { name: 'default.ui.page.size' },
    { name: 'no.such.setting', value: '1' },
    { name: 'default.ui.page.size', value: '1', zoneid: newId('zone') },
  ])
    assert.equal((await update(params as never)).status, 431, JSON.stringify(params));
  const zoneId = newId('zone');
  await services.db.rows("SET STATEMENT sql_mode = '' FOR INSERT INTO zone (id, name) VALUES (?, 'z')", [zoneId]);
  const wrongScope = await update({ name: 'default.ui.page.size', value: '30', zoneid: zoneId });
  assert.match(wrongScope.body.errortext, /no value of its own for a zone/);
  const { domain } = (await admin('createDomain', { name: 'cf' })).body;
  const boss = await account('cf-boss', { accounttype: '2', domainid: domain.id });
  const worker = await account('cf-worker', { accounttype: '0', domainid: domain.id });
  const names = (rows: { name: string }[]) => rows.map(({ name }) => name);
  assert.deepEqual(names(await list({ zoneid: zoneId })), ['test.scoped']);
  assert.deepEqual(names((await boss.call('listConfigurations')).body.configuration), ['test.scoped'], 'what his domain may set');

  assert.equal((await update({ name: 'test.scoped', value: '5', zoneid: zoneId })).body.configuration.value, '5');
  assert.equal((await list({ name: 'test.scoped' }))[0].value, '1');
  assert.equal(services.settings.get(scoped, { zone: zoneId }), 5);
  await update({ name: 'test.scoped', value: '3' });
  assert.equal((await list({ zoneid: zoneId }))[0].value, '5');
  assert.equal((await admin('resetConfiguration', { name: 'test.scoped', zoneid: zoneId })).body.configuration.value, '3');
  assert.equal((await list({ name: 'test.scoped' }))[0].scope, 'Zone,Account,Domain');

  assert.equal((await boss.call('updateConfiguration', { name: 'test.scoped', value: '7' })).status, 200);
  assert.equal(services.settings.get(scoped), 3, 'a domain admin changes his domain, not the cloud');
  assert.equal(services.settings.get(scoped, { domain: domain.id }), 7);
  assert.equal((await boss.call('updateConfiguration', { name: 'test.scoped', value: '8', accountid: worker.accountId })).status, 200);
  const { account: admins } = (await admin('listAccounts', { name: 'admin' })).body;
  for (const place of [{ zoneid: zoneId }, { accountid: admins[0].id }, { domainid: admins[0].domainid }])
    assert.equal(
      (await boss.call('updateConfiguration', { name: 'test.scoped', value: '9', ...place } as never)).status,
      431,
      JSON.stringify(place),
    );
  assert.equal((await boss.call('updateConfiguration', { name: 'default.page.size', value: '1' })).status, 431);
  assert.equal((await update({ name: 'test.scoped', value: '9', zoneid: zoneId, domainid: domain.id })).status, 431);
}

test('what a job tells', () => {
  assert.deepEqual(outcome({ state: 'Failed', result: null, error: { code: 'Internal', message: 'broken at /x' } }, true).result, {
    errorcode: 530,
    errortext: 'broken at /x',
  });
  assert.ok(
    !String(
      outcome({ state: 'Failed', result: null, error: { code: 'Internal', message: 'broken at /x' } }, false).result?.['errortext'],
    ).includes('/x'),
  );
});
