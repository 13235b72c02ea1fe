/** The API as it is on the wire: what any client of it, however written, takes for granted. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Keys } from '../../lab/client.ts';
import { sign, stringToSign } from '../../management/core/auth/signature.ts';
import { offeredCommands } from '../../tools/offered.ts';
import { type Cloud, startCloud } from '../cloud/cloud.ts';
import { addTenant } from './accounts.ts';

test('the API on the wire', { timeout: 60_000 }, async (t) => {
  const cloud = await startCloud();
  t.after(() => cloud.close());
  for (const name of ['wire-a', 'wire-b', 'wire-c']) await cloud.admin.call('createDomain', { name });
  const steps: [string, (cloud: Cloud) => Promise<void>][] = [
    ['GET and POST, with and without a slash, are one', verbs],
    ['MI-03 what is signed is what counts', signatures],
    ['MI-03 a request that expires is good until then', expiry],
    ['MI-03 whoever is not known, or signs wrongly, is told one thing', strangers],
    ['JSON: one root, an empty list is empty, count comes first', json],
    ['XML is the answer to whoever does not ask for JSON', xml],
    ['pages', pages],
    ['parameters that are missing, malformed, unknown or of no meaning', parameters],
    ['a filter takes letters of any script', scripts],
    ['maps', maps],
    ['errors: status, numbers, texts and the header', errors],
    ['a session begins with a POST, and holds with its cookie and its key', sessions],
    ['a request id leads from an answer to its job and its events', requestIds],
  ];
  for (const [title, step] of steps) await t.test(title, () => step(cloud));
});

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly root: string;
  // biome-ignore lint/suspicious/noExplicitAny: replies are looked at field by field in tests
  readonly body: any;
}
type Pairs = readonly (readonly [string, string])[];

async function read(response: Response): Promise<Answer> {
  const text = await response.text();
  const isJson = response.headers.get('content-type')?.startsWith('application/json');
  const parsed: Record<string, unknown> = isJson ? JSON.parse(text) : {};
  const [root = '', ...others] = Object.keys(parsed);
  assert.deepEqual(others, [], 'an answer has one root');
  return { status: response.status, headers: response.headers, text, root, body: parsed[root] };
}
const signed = (keys: Keys, pairs: Pairs, order: 'raw' | 'lower' = 'raw'): URLSearchParams => {
  const all: [string, string][] = [...pairs.map(([name, value]): [string, string] => [name, value]), ['apiKey', keys.apiKey]];
  return new URLSearchParams([...all, ['signature', sign(stringToSign(all, order), keys.secretKey)]]);
};
const get = async ({ url }: Cloud, query: URLSearchParams | string, path = ''): Promise<Answer> =>
  read(await fetch(`${url}${path}?${query}`));
const post = async ({ url }: Cloud, body: URLSearchParams, cookie?: string, query = ''): Promise<Answer> =>
  read(await fetch(`${url}${query}`, { method: 'POST', body, headers: cookie === undefined ? {} : { cookie } }));
const asked = (command: string, ...pairs: Pairs): Pairs => [['command', command], ['response', 'json'], ...pairs];
const call = (cloud: Cloud, command: string, ...pairs: Pairs) => get(cloud, signed(cloud.adminKeys, asked(command, ...pairs)));

async function verbs(cloud: Cloud) {
  const query = signed(cloud.adminKeys, asked('listDomains'));
  const answers = [await get(cloud, query), await get(cloud, query, '/'), await post(cloud, query)];
  for (const { status, body } of answers) {
    assert.equal(status, 200);
    assert.deepEqual(body, answers[0]?.body);
  }
  // Of the query and the body the query counts; of a name given twice the last in the query and the first in the body.
  const split = signed(cloud.adminKeys, asked('listDomains', ['name', 'wire-a']));
  split.delete('name');
  split.append('name', 'wire-b');
  const inQuery = await post(cloud, split, undefined, '?name=wire-b&name=wire-a');
  assert.deepEqual([inQuery.status, inQuery.body.count], [200, 1]);
  const first = signed(cloud.adminKeys, asked('listDomains', ['name', 'wire-a']));
  first.append('name', 'wire-b');
  assert.equal((await post(cloud, first)).body.domain[0].name, 'wire-a');
  assert.equal((await get(cloud, first)).status, 401, 'in a query the last of two names counts, and that was not signed');
}

async function signatures(cloud: Cloud) {
  const { adminKeys } = cloud;
  const odd = "é ü+%&=/:@,*~(x)!' 日本";
  for (const order of ['raw', 'lower'] as const) {
    const query = signed(adminKeys, asked('listDomains', ['Keyword', odd], ['apple', '1'], ['apiZebra', '2']), order);
    assert.equal((await get(cloud, query)).status, 200, `GET, ${order}`);
    assert.equal((await post(cloud, query)).status, 200, `POST, ${order}`);
    // A plus for a space and %20 are the same value.
    assert.equal((await get(cloud, query.toString().replaceAll('+', '%20'))).status, 200);
  }
  const shuffled = [...signed(adminKeys, asked('listDomains', ['keyword', 'wire'], ['listAll', 'true']))].reverse();
  assert.equal((await get(cloud, new URLSearchParams(shuffled))).status, 200, 'the order on the wire is of no meaning');
  for (const name of ['APIKEY', 'apikey']) {
    const pairs: [string, string][] = [...asked('listDomains').map(([a, b]): [string, string] => [a, b]), [name, adminKeys.apiKey]];
    const query = new URLSearchParams([...pairs, ['signature', sign(stringToSign(pairs, 'raw'), adminKeys.secretKey)]]);
    assert.equal((await get(cloud, query)).status, 200, name);
  }
  const changed = signed(adminKeys, asked('listDomains', ['keyword', 'wire']));
  changed.set('keyword', 'other');
  assert.equal((await get(cloud, changed)).status, 401, 'a value that was changed');
  const added = signed(adminKeys, asked('listDomains'));
  added.append('page', '1');
  assert.equal((await get(cloud, added)).status, 401, 'a parameter that was added');
}

async function expiry(cloud: Cloud) {
  const at = (milliseconds: number) => new Date(Date.now() + milliseconds).toISOString().replace(/\.\d+Z$/, '');
  const status = async (expires: string | null, version = '3') =>
    (await call(cloud, 'listDomains', ['signatureversion', version], ...(expires === null ? [] : [['expires', expires] as const]))).status;
  for (const zone of ['Z', '+0000', '+00:00', '.123456Z', 'Z+0000']) assert.equal(await status(`${at(60_000)}${zone}`), 200, zone);
  assert.equal(await status(`${at(-1000)}Z`), 401, 'too late');
  assert.equal(await status(null), 401, 'version 3 expires');
  assert.equal(await status('soon'), 401);
  assert.equal(await status(`${at(-1000)}Z`, '2'), 200, 'with another version the time is of no meaning');
  assert.equal(
    (await call(cloud, 'listDomains', ['signatureVersion', '3'], ['expires', `${at(60_000)}+0000`])).status,
    200,
    'as cs writes it',
  );
}

async function strangers(cloud: Cloud) {
  const { adminKeys } = cloud;
  const texts = new Set<string>();
  const wrong: [string, Keys, string][] = [
    ['an unknown key', { ...adminKeys, apiKey: 'nobody' }, 'listDomains'],
    ['a key in letters that no key has', { ...adminKeys, apiKey: 'é日' }, 'listDomains'],
    ['a wrong secret', { ...adminKeys, secretKey: 'wrong' }, 'listDomains'],
    ['an unknown command', adminKeys, 'listNothing'],
    ['a command in other letters', adminKeys, 'LISTDOMAINS'],
  ];
  for (const [what, keys, command] of wrong) {
    const { status, body } = await get(cloud, signed(keys, asked(command)));
    assert.equal(status, 401, what);
    assert.equal('cserrorcode' in body, false);
    texts.add(body.errortext);
  }
  assert.deepEqual([...texts], ['unable to verify user credentials and/or request signature']);
  const unsigned = await get(
    cloud,
    new URLSearchParams([
      ['command', 'listDomains'],
      ['response', 'json'],
      ['apiKey', adminKeys.apiKey],
    ]),
  );
  assert.deepEqual([unsigned.status, unsigned.root], [401, 'listdomainsresponse']);
}

async function json(cloud: Cloud) {
  const full = await call(cloud, 'listDomains', ['listall', 'true']);
  assert.equal(full.root, 'listdomainsresponse');
  assert.match(full.headers.get('content-type') ?? '', /^application\/json; charset=utf-8$/i);
  assert.deepEqual(Object.keys(full.body), ['count', 'domain'], 'count first, and one key more');
  assert.ok(!full.text.includes('null') && !full.text.includes('\n'));
  assert.equal((await call(cloud, 'listDomains', ['keyword', 'nothing like it'])).text, '{"listdomainsresponse":{}}');
  const past = await call(cloud, 'listDomains', ['page', '9'], ['pagesize', '50'], ['listall', 'true']);
  assert.deepEqual(past.body, { count: full.body.count });
  const [domain] = full.body.domain;
  assert.match(domain.created, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+0000$/);
  const made = await call(cloud, 'createDomain', ['name', 'wire-json']);
  assert.deepEqual(Object.keys(made.body), ['domain'], 'one object under its key');
}

async function xml(cloud: Cloud) {
  for (const format of [[], [['response', 'xml']], [['response', 'XML']], [['response', 'yaml']]] as Pairs[]) {
    const { status, text, headers } = await get(
      cloud,
      signed(cloud.adminKeys, [['command', 'listDomains'], ['keyword', 'wire-a'], ...format]),
    );
    assert.equal(status, 200);
    assert.match(headers.get('content-type') ?? '', /^text\/xml; charset=utf-8$/i);
    assert.match(
      text,
      /^<\?xml version="1\.0" encoding="UTF-8"\?><listdomainsresponse cloud-stack-version="4\.22\.0\.0"><count>1<\/count><domain><id>/,
    );
  }
  assert.match(
    (
      await get(
        cloud,
        signed(cloud.adminKeys, [
          ['command', 'listDomains'],
          ['keyword', 'nothing like it'],
        ]),
      )
    ).text,
    /<listdomainsresponse cloud-stack-version="4\.22\.0\.0">\s*<\/listdomainsresponse>$/,
  );
  const { domain } = await cloud.admin.call('createDomain', { name: 'wire-xml' });
  await cloud.admin.call('createAccount', {
    username: 'markup',
    password: 'markup',
    email: 'a@b',
    firstname: '<&>',
    lastname: '"\'',
    domainid: domain.id,
    accounttype: 0,
  });
  const escaped = await get(
    cloud,
    signed(cloud.adminKeys, [
      ['command', 'listUsers'],
      ['username', 'markup'],
      ['listall', 'true'],
    ]),
  );
  assert.match(escaped.text, /<firstname>&lt;&amp;&gt;<\/firstname>/);
  const wrong = await get(cloud, new URLSearchParams([['command', 'listDomains']]));
  assert.match(
    wrong.text,
    /<listdomainsresponse><uuidList><\/uuidList><errorcode>401<\/errorcode>|<listdomainsresponse><errorcode>401<\/errorcode>/,
  );
}

async function pages(cloud: Cloud) {
  const names = async (...pairs: Pairs) => {
    const { status, body } = await call(cloud, 'listDomains', ['keyword', 'wire-'], ['listall', 'true'], ...pairs);
    return status === 200 ? { count: body.count, names: (body.domain ?? []).map(({ name }: { name: string }) => name) } : status;
  };
  const all = await names();
  assert.ok(typeof all === 'object' && all.names.length === all.count && all.count >= 3);
  const parts = [await names(['page', '1'], ['pagesize', '2']), await names(['page', '2'], ['pagesize', '2'])];
  const joined = parts.flatMap((part) => (typeof part === 'object' ? part.names : []));
  assert.deepEqual(joined, all.names.slice(0, 4), 'pages are in one order and do not overlap');
  for (const part of parts) assert.equal(typeof part === 'object' && part.count, all.count, 'count is of all matches');
  assert.deepEqual(await names(['pagesize', '-1']), all);
  for (const wrong of [
    [['page', '1']],
    [['pagesize', '10']],
    [
      ['page', '0'],
      ['pagesize', '10'],
    ],
    [
      ['page', '1'],
      ['pagesize', '501'],
    ],
    [
      ['page', '1'],
      ['pagesize', '-1'],
    ],
    [
      ['page', 'x'],
      ['pagesize', '1'],
    ],
  ] as Pairs[])
    assert.equal(await names(...wrong), 431, JSON.stringify(wrong));
}

async function parameters(cloud: Cloud) {
  const text = async (command: string, ...pairs: Pairs) => {
    const { status, body } = await call(cloud, command, ...pairs);
    return [status, body.cserrorcode, body.errortext];
  };
  assert.deepEqual(await text('createDomain'), [431, 9999, 'Unable to execute API command createdomain due to missing parameter name']);
  assert.deepEqual(await text('createDomain', ['name', '']), [
    431,
    9999,
    'Unable to execute API command createdomain due to missing parameter name',
  ]);
  const [status, number, words] = await text('listDomains', ['level', 'deep']);
  assert.deepEqual(
    [status, number, words],
    [431, 9999, 'Unable to execute API command listdomains due to invalid value deep for parameter level'],
  );
  const unknown = randomUUID();
  for (const id of [unknown, 'not-an-id', `${unknown}0`, "' OR 1=1 --"]) {
    const [code, cs, said] = await text('listDomains', ['id', id]);
    assert.deepEqual([code, cs], [431, 9999]);
    assert.ok(
      String(said).includes(`Invalid parameter id value=${id} due to incorrect long value format, or entity does not exist`),
      String(said),
    );
  }
  assert.deepEqual((await text('createDomain', ['name', 'x'.repeat(256)])).slice(0, 2), [431, 9999]);
  for (const character of ['\u0000', '\t', '\u0007', '\u001b', '\u007f'])
    assert.equal((await text('listDomains', ['keyword', `a${character}b`]))[0], 431, JSON.stringify(character));
  assert.equal((await text('listDomains', ['keyword', 'a\r\nb']))[0], 200, 'line ends are allowed');
  assert.equal((await text('listDomains', ['nonsense', '1'], ['_', '123']))[0], 200, 'unknown parameters are of no meaning');
  assert.equal((await call(cloud, 'listDomains', ['KEYWORD', 'wire-a'])).body.count, 1, 'names in any case');
  for (const [word, everything] of [
    ['TRUE', true],
    ['true', true],
    ['yes', false],
    ['1', false],
  ] as const)
    assert.equal((await call(cloud, 'listUsers', ['listAll', word])).body.count > 1, everything, word);
  const percent = await call(cloud, 'listDomains', ['keyword', '%']);
  assert.deepEqual(percent.body, {}, 'a per cent sign is a character like others');
}

async function scripts(cloud: Cloud) {
  const needed: Readonly<Record<string, Pairs>> = { listTemplates: [['templatefilter', 'all']], listIsos: [['isofilter', 'all']] };
  const wrong: string[] = [];
  let tried = 0;
  // listApis says of an unknown name that it is unknown.
  for (const { name, params } of offeredCommands().filter((each) => each.name.startsWith('list') && each.name !== 'listApis'))
    for (const [param, { type, elem }] of Object.entries(params)) {
      if (type !== 'string' && elem !== 'string') continue;
      const { status } = await call(cloud, name, ...(needed[name] ?? []).filter(([other]) => other !== param), [param, "é ü' 日本"]);
      tried += 1;
      if (status !== 200 && status !== 431) wrong.push(`${name} ${param}: ${status}`);
    }
  assert.deepEqual(wrong, []);
  assert.ok(tried > 100, `only ${tried} filters were tried`);
  const { domain } = (await call(cloud, 'createDomain', ['name', '日本-wire'])).body;
  assert.deepEqual((await call(cloud, 'listDomains', ['keyword', '日本'])).body.domain, [domain]);
}

async function maps(cloud: Cloud) {
  const offering = (name: string, ...pairs: Pairs) =>
    call(
      cloud,
      'createServiceOffering',
      ['name', name],
      ['displaytext', name],
      ['cpunumber', '1'],
      ['cpuspeed', '100'],
      ['memory', '128'],
      ...pairs,
    );
  for (const name of [
    'serviceofferingdetails[0.key',
    'serviceofferingdetails[x].key',
    'serviceofferingdetails0].key',
    'serviceofferingdetails[0][1].key',
  ])
    assert.equal((await offering('maps', [name, 'a'])).status, 430, name);
  assert.equal((await offering('maps', ['whatever[7].field', 'a'])).status, 200, 'a map that nobody asks for is of no meaning');
}

async function errors(cloud: Cloud) {
  const { status, root, body, headers } = await call(cloud, 'createDomain', ['name', 'wire-a']);
  assert.equal(status, 431);
  assert.equal(root, 'createdomainresponse');
  assert.deepEqual(Object.keys(body), ['uuidList', 'errorcode', 'cserrorcode', 'errortext']);
  assert.deepEqual([body.errorcode, body.cserrorcode, body.uuidList], [431, 4350, []]);
  assert.equal(headers.get('x-description'), body.errortext);
  const tenant = await addTenant(cloud, 'wire-tenant');
  const { userkeys } = await cloud.admin.call('getUserKeys', { id: tenant.account.user[0].id });
  const refused = await get(cloud, signed({ apiKey: userkeys.apikey, secretKey: userkeys.secretkey }, asked('createZone')));
  assert.deepEqual([refused.status, refused.root, refused.body.cserrorcode], [432, 'errorresponse', 4555]);
  assert.equal(refused.body.errortext, 'The API [createZone] does not exist or is not available for the account Account [wire-tenant]');
  for (const secret of ['SELECT', 'node_modules', '/work', 'at Object']) assert.ok(!refused.text.includes(secret));
}

async function sessions(cloud: Cloud) {
  const password = (await readFile(join(cloud.management.services.config.varDirectory, 'admin-password'), 'utf8')).trim();
  const credentials: [string, string][] = [
    ['command', 'login'],
    ['username', 'admin'],
    ['password', password],
    ['response', 'json'],
  ];
  const byGet = await get(cloud, new URLSearchParams(credentials));
  assert.equal(byGet.status, 405);
  assert.ok(!byGet.text.startsWith('{'));
  const wrong = await post(cloud, new URLSearchParams([...credentials.slice(0, 2), ['password', 'wrong'], ['response', 'json']]));
  assert.deepEqual([wrong.status, wrong.root, 'cserrorcode' in wrong.body], [531, 'loginresponse', false]);

  const login = await post(cloud, new URLSearchParams(credentials));
  assert.equal(login.status, 200);
  for (const [key, value] of Object.entries(login.body)) if (key !== 'timeout') assert.equal(typeof value, 'string', key);
  assert.equal(login.body.timeout, 1800);
  const set = login.headers.getSetCookie();
  assert.ok(set.some((cookie) => /^JSESSIONID=[^;]+; Path=\/client; HttpOnly/.test(cookie)));
  assert.ok(set.some((cookie) => /^sessionkey=[^;]+; HttpOnly; SameSite=Lax/.test(cookie) && !/Path=/i.test(cookie)));
  const cookie = set.map((each) => each.split(';')[0]).join('; ');
  const [sessionOnly = '', keyOnly = ''] = cookie.split('; ');
  const list = (key: string | null, cookies: string) =>
    post(
      cloud,
      new URLSearchParams([
        ...asked('listDomains').map(([a, b]): [string, string] => [a, b]),
        ...(key === null ? [] : [['sessionkey', key] as [string, string]]),
      ]),
      cookies,
    );
  assert.equal((await list(login.body.sessionkey, cookie)).status, 200);
  assert.equal((await list(login.body.sessionkey, keyOnly)).status, 401, 'the key alone is nobody');

  const noCommand = await post(
    cloud,
    new URLSearchParams([
      ['response', 'json'],
      ['sessionkey', login.body.sessionkey],
    ]),
    cookie,
  );
  assert.equal(noCommand.status, 400);
  // A session goes before a signature, and a wrong key ends it.
  const both = signed(cloud.adminKeys, asked('listDomains', ['sessionkey', 'wrong']));
  assert.equal((await post(cloud, both, cookie)).status, 401);
  assert.equal((await list(login.body.sessionkey, cookie)).status, 401, 'the session has ended with the wrong key');
  const again = await post(cloud, new URLSearchParams(credentials));
  const fresh = again.headers
    .getSetCookie()
    .map((each) => each.split(';')[0])
    .join('; ');
  assert.notEqual(fresh, cookie);
  assert.equal((await list(null, fresh)).status, 401, 'a cookie without the key as parameter');
  const last = await post(cloud, new URLSearchParams(credentials), sessionOnly);
  const lastCookie = last.headers
    .getSetCookie()
    .map((each) => each.split(';')[0])
    .join('; ');
  const logout = await post(
    cloud,
    new URLSearchParams([
      ['command', 'LOGOUT'],
      ['response', 'json'],
      ['sessionkey', last.body.sessionkey],
    ]),
    lastCookie,
  );
  assert.deepEqual([logout.status, logout.body], [200, { description: 'success' }]);
  assert.ok(logout.headers.getSetCookie().some((each) => /^JSESSIONID=;/.test(each)));
  assert.equal((await list(last.body.sessionkey, lastCookie)).status, 401);
}

async function requestIds(cloud: Cloud) {
  const { headers, body } = await call(
    cloud,
    'createZone',
    ['name', 'wire'],
    ['networktype', 'Advanced'],
    ['dns1', '10.0.0.1'],
    ['internaldns1', '10.0.0.1'],
  );
  assert.match(headers.get('x-request-id') ?? '', /^[0-9a-f-]{36}$/);
  const started = await call(cloud, 'createPhysicalNetwork', ['zoneid', body.zone.id], ['name', 'wire']);
  const [job] = await cloud.db.rows<{ requestId: string }>('SELECT request_id AS requestId FROM job WHERE id = ?', [started.body.jobid]);
  assert.equal(job?.requestId, started.headers.get('x-request-id'));
  assert.notEqual(started.headers.get('x-request-id'), headers.get('x-request-id'));
}
