/** Templates on their way from a server of the internet through the secondary storage VM to the store, and what is refused on the way. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { copyFile, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ApiError, type Client, eventually, type Params, type Reply } from '../../lab/client.ts';
import { command } from '../../lab/command.ts';
import { createInternetServer } from '../../lab/internet/http.ts';
import { inHost, labPaths } from '../../lab/lab.ts';
import { topology } from '../../lab/topology.ts';
import { capture, hostNames, inSystemVm, onHost, type RealCloud, realCloud } from './cloud.ts';
import { tapOf } from './inside.ts';

let cloud: RealCloud;
let admin: Client;
let images: string;
let store: string;
/** The guest's image as its maker published it. */
let source: { file: string; sha256: string; sizeBytes: number };
const made: string[] = [];
const servers: Server[] = [];
const INTERNET = `http://${topology.internet.address}`;
const PREFIX = 'e2e-storage';

const sha256Of = async (file: string): Promise<string> => {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk);
  return hash.digest('hex');
};
const publish = async (name: string, content?: string | Buffer): Promise<string> => {
  const path = join(images, `${PREFIX}-${name}`);
  made.push(path);
  if (content !== undefined) await writeFile(path, content);
  return path;
};
const urlOf = (name: string): string => `${INTERNET}/images/${PREFIX}-${name}`;

/** Serves in this process, on an address of the machine itself, and keeps what was asked. */
const serve = async (address: string, server: Server): Promise<string> => {
  servers.push(server);
  server.listen(0, address);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return `${address}:${port}`;
};

const setting = (name: string, value: string) => admin.call('updateConfiguration', { name, value });
const register = async (name: string, url: string, more: Params = {}): Promise<string> => {
  const body = await admin.call('registerTemplate', {
    name: `${PREFIX} ${name}`,
    displaytext: name,
    url,
    format: 'QCOW2',
    hypervisor: 'KVM',
    zoneid: cloud.zoneId,
    ...more,
  });
  return body.template[0].id;
};
const templateOf = async (id: string): Promise<Reply> =>
  (await admin.list('listTemplates', { templatefilter: 'all', id, zoneid: cloud.zoneId }))[0];
const ready = (id: string, timeoutSeconds = 120): Promise<Reply> =>
  eventually(
    'the template is ready',
    async () => {
      const template = await templateOf(id);
      assert.notEqual(template.downloaddetails?.[0]?.downloadState, 'DOWNLOAD_ERROR', template.status);
      return template.isready ? template : null;
    },
    { timeoutSeconds, everyMs: 400 },
  );
const refusal = (id: string): Promise<Reply> =>
  eventually(
    'the template is refused',
    async () => {
      const template = await templateOf(id);
      assert.ok(!template.isready, 'it must never be ready');
      return template.downloaddetails?.[0]?.downloadState === 'DOWNLOAD_ERROR' ? template : null;
    },
    { timeoutSeconds: 90, everyMs: 400 },
  );
const remove = (id: string) => admin.run('deleteTemplate', { id }, { timeoutSeconds: 60, pollMs: 200 });
/** What the store holds of a template, finished or not. */
const stored = async (id: string): Promise<string[]> =>
  (await readdir(join(store, 'template')).catch(() => [])).filter((name) => name.startsWith(id));
const secondaryStorage = async (): Promise<Reply> => {
  const found = await admin.list('listSystemVms', { systemvmtype: 'secondarystoragevm' });
  assert.equal(found.length, 1);
  return found[0];
};

before(
  async () => {
    cloud = await realCloud();
    admin = cloud.admin;
    const paths = labPaths(cloud.varDir);
    images = paths.images;
    store = paths.secondary;
    const template = await templateOf(cloud.templateId);
    const file = join(images, new URL(template.url ?? (await newestTiny())).pathname.split('/').at(-1) ?? '');
    source = { file, sha256: await sha256Of(file), sizeBytes: (await stat(file)).size };
  },
  { timeout: 480_000 },
);
const newestTiny = async (): Promise<string> => {
  const names = (await readdir(images)).filter((name) => /^tiny-[0-9a-f]{12}\.qcow2$/.test(name));
  const dated = await Promise.all(names.map(async (name) => ({ name, at: (await stat(join(images, name))).mtimeMs })));
  return `${INTERNET}/images/${dated.sort((a, b) => b.at - a.at)[0]?.name}`;
};
after(async () => {
  for (const server of servers) server.close().closeAllConnections();
  for (const path of made) await rm(path, { force: true });
  if (!admin) return;
  await setting('max.template.iso.size', '50').catch(() => undefined);
  await setting('secstorage.allowed.internal.sites', '').catch(() => undefined);
  await setting('secstorage.proxy', '').catch(() => undefined);
  // A test that failed leaves its templates behind.
  for (const { id, name } of await admin.list('listTemplates', { templatefilter: 'all', zoneid: cloud.zoneId, listall: true }))
    if (name.startsWith(PREFIX)) await remove(id).catch(() => undefined);
});

test('SS-01 SS-03 SS-05 a template comes by URL over the public NIC, with the very bytes that were published', {
  timeout: 240_000,
}, async () => {
  const storage = await secondaryStorage();
  const links: Reply[] = JSON.parse(await inSystemVm(cloud, storage, 'ip -json link'));
  const watches = await Promise.all(
    ['eth0', 'eth1', 'eth2', 'eth3'].map(async (device) => {
      const mac = links.find(({ ifname }) => ifname === device).address;
      const tap = await tapOf(storage.hostname, storage.name, mac);
      return { device, watch: await capture(storage.hostname, tap, `tcp port ${topology.internet.httpPort}`, 120) };
    }),
  );
  await copyFile(source.file, await publish('good.qcow2'));
  const id = await register('good', urlOf('good.qcow2'), { checksum: `{SHA-256}${source.sha256}` });
  const template = await ready(id);
  const packets = Object.fromEntries(
    await Promise.all(
      watches.map(async ({ device, watch }) => [device, (await watch.stop()).filter((line) => line.includes(' > ')).length]),
    ),
  );
  assert.ok(packets['eth2'] > 100, JSON.stringify(packets));
  assert.deepEqual([packets['eth0'], packets['eth1'], packets['eth3']], [0, 0, 0], JSON.stringify(packets));

  assert.equal(template.status, 'Download Complete');
  assert.equal(template.downloaddetails[0].downloadPercent, '100');
  const folder = join(store, 'template', id);
  const note: Reply = JSON.parse(await readFile(join(folder, 'image.json'), 'utf8'));
  const file = join(folder, note.fileName);
  assert.equal(note.downloadedBytes, source.sizeBytes);
  assert.equal(template.physicalsize, note.sizeBytes);
  assert.equal(await sha256Of(file), note.sha256, 'the file in the store is what was written');
  // The stored file is written anew by the cloud; what a guest reads from it is the same byte for byte.
  await command('qemu-img', ['compare', '-s', '-f', 'qcow2', '-F', 'qcow2', '--', source.file, file], { timeoutSeconds: 60 });
  const published = createHash('sha512')
    .update(await readFile(source.file))
    .digest('hex');
  assert.equal(note.checksum, `{SHA-512}${published}`, 'the bytes that came are those that were published');

  await remove(id);
  assert.deepEqual(await stored(id), [], 'nothing is left in the store');
  assert.equal(await templateOf(id), undefined);
});

test('SS-01 the copy on primary storage is the file of the store', { timeout: 60_000 }, async () => {
  const note: Reply = JSON.parse(await readFile(join(store, 'template', cloud.templateId, 'image.json'), 'utf8'));
  const path = `${topology.primaryMountPoint}/images/${cloud.templateId}.qcow2`;
  for (const host of hostNames) assert.equal((await onHost(host, 'sha256sum', '--', path)).split(' ')[0], note.sha256, host);
});

test('SS-03 what is not what it says is refused with the reason, and nothing of it is kept', { timeout: 240_000 }, async () => {
  await copyFile(source.file, await publish('plain.qcow2'));
  await publish('page.qcow2', `<!DOCTYPE html><html><body>${'Sign in to download. '.repeat(2000)}</body></html>\n`);
  await truncate(await publish('large.qcow2', ''), 1.5 * 2 ** 30);
  const overlay = await publish('backed.qcow2');
  await command('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', '/etc/passwd', '-F', 'raw', '-u', overlay, '16M'], {
    timeoutSeconds: 20,
  });
  const split = await publish('split.qcow2');
  const data = await publish('split.data');
  await command('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', `data_file=${data},data_file_raw=on`, split, '1M'], {
    timeoutSeconds: 20,
  });
  await publish('vmdk.qcow2', Buffer.concat([Buffer.from('KDMV'), Buffer.alloc(70_000)]));
  const management = topology.machine.management.address;
  const redirect = (to: string): string => `${INTERNET}/redirect?to=${encodeURIComponent(to)}`;
  const wrong = source.sha256.replace(/^./, (digit) => (digit === '0' ? '1' : '0'));
  await setting('max.template.iso.size', '1');
  const cases: [string, string, RegExp, Params?][] = [
    ['wrong checksum', urlOf('plain.qcow2'), /SHA-256 checksum is [0-9a-f]{64}, not/, { checksum: `{SHA-256}${wrong}` }],
    ['page', urlOf('page.qcow2'), /not.*QCOW2|HTML|web page/i],
    ['too large', urlOf('large.qcow2'), /has 1536 MiB; at most 1024 MiB/],
    ['backing file', urlOf('backed.qcow2'), /backing/i],
    ['data file', urlOf('split.qcow2'), /data|external|another file/i],
    ['other format', urlOf('vmdk.qcow2'), /VMDK|not.*QCOW2/i],
    ['absent', urlOf('absent.qcow2'), /no such file/],
    ['metadata', redirect('http://169.254.169.254/latest/meta-data/'), /169\.254\.169\.254 is /],
    ['control', redirect('http://169.254.0.1:8250/'), /169\.254\.0\.1 is /],
    ['loopback', redirect('http://127.0.0.1:8210/'), /127\.0\.0\.1 is /],
    ['loopback by name', redirect('http://localhost/'), /localhost/],
    ['private', redirect('http://10.1.1.1/latest/user-data'), /10\.1\.1\.1 is a private address/],
    ['management', redirect(`http://${management}:8080/client/api`), /198\.18\.0\.1 is /],
    ['storage', `http://${topology.nfs.storageAddress}:2049/`, /198\.18\.1\.5 is /],
    ['file', redirect('file:///etc/passwd'), /not of http or https/],
  ];
  const before = await admin.list('listAlerts', { keyword: 'could not be downloaded' });
  const registered = [];
  for (const [name, url, reason, more] of cases) registered.push({ name, reason, id: await register(name, url, more) });
  for (const { name, reason, id } of registered) {
    const template = await refusal(id);
    assert.match(template.status, reason, name);
    assert.deepEqual(await stored(id), [], `${name}: nothing is left in the store`);
  }
  await setting('max.template.iso.size', '50');
  await assert.rejects(
    register('ftp', 'ftp://203.0.113.1/image.qcow2'),
    (error) => error instanceof ApiError && /http and https only/.test(String(error.body.errortext)),
  );
  const after = await admin.list('listAlerts', { keyword: 'could not be downloaded' });
  assert.ok(after.length > before.length, 'the operator is told');
  const [offering] = await admin.list('listServiceOfferings', { name: 'Small Instance' });
  await assert.rejects(
    admin.call('deployVirtualMachine', {
      zoneid: cloud.zoneId,
      templateid: registered[0]?.id,
      serviceofferingid: offering.id,
      networkids: cloud.networkId,
    }),
    ApiError,
    'no machine is made from it',
  );
  for (const { id } of registered) await remove(id);
});

test('SS-05 internal servers only where a setting allows them, and through a proxy where one is set', { timeout: 240_000 }, async () => {
  const asked: string[] = [];
  const internal = createInternetServer(images);
  internal.on('request', ({ url, socket }) => asked.push(`${socket.remoteAddress} ${url}`));
  const place = await serve(topology.machine.management.address, internal);
  await copyFile(source.file, await publish('internal.qcow2'));
  const url = `http://${place}/images/${PREFIX}-internal.qcow2`;
  const refusedId = await register('internal refused', url);
  assert.match((await refusal(refusedId)).status, /an address of the cloud itself/);
  assert.equal(asked.length, 0, 'not one request was made');
  await setting('secstorage.allowed.internal.sites', topology.machine.management.address);
  const allowed = await eventually(
    'the setting counts in the secondary storage VM',
    async () => {
      const id = await register('internal allowed', url);
      const end = await eventually('an end', async () => {
        const template = await templateOf(id);
        return template.isready || template.downloaddetails?.[0]?.downloadState === 'DOWNLOAD_ERROR' ? template : null;
      });
      if (end.isready) return id;
      await remove(id);
      return null;
    },
    { timeoutSeconds: 60, everyMs: 1000 },
  );
  const storage = await secondaryStorage();
  assert.ok(asked.length > 0 && asked.every((line) => line.startsWith(`${storage.privateip} `)), asked.join('; '));
  await setting('secstorage.allowed.internal.sites', '');

  const seen: string[] = [];
  const proxy = createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    createReadStream(source.file)
      .on('open', () => response.writeHead(200, { 'content-length': String(source.sizeBytes) }))
      .pipe(response);
  });
  proxy.on('connect', (request, socket) => {
    seen.push(`CONNECT ${request.url}`);
    socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n');
  });
  await setting('secstorage.proxy', `http://${await serve(topology.machine.public.address, proxy)}`);
  const target = `${topology.internet.address}:443`;
  const secure = await register('through a tunnel', `https://${target}/secure.qcow2`);
  await eventually(
    'the tunnel is asked for',
    async () => {
      if (seen.includes(`CONNECT ${target}`)) return true;
      return null;
    },
    { timeoutSeconds: 90 },
  );
  await remove(secure);
  const plain = await register('through the proxy', `${INTERNET}/images/${PREFIX}-not-there.qcow2`, { checksum: source.sha256 });
  await ready(plain);
  assert.ok(
    seen.some((line) => line.startsWith(`GET http://${topology.internet.address}:80/images/`)),
    seen.join('; '),
  );
  await setting('secstorage.proxy', '');
  for (const id of [refusedId, allowed, plain]) {
    await remove(id);
    assert.deepEqual(await stored(id), []);
  }
});

test('SS-09 a download goes on in the successor of the secondary storage VM that died during it', { timeout: 420_000 }, async () => {
  const ranges: string[] = [];
  const slow = createInternetServer(images);
  slow.on('request', ({ headers }) => ranges.push(headers.range ?? 'all'));
  const place = await serve(topology.machine.public.address, slow);
  await copyFile(source.file, await publish('slow.qcow2'));
  const rate = Math.ceil(source.sizeBytes / 50);
  const checksum = `{SHA-256}${source.sha256}`;
  const id = await register('slow', `http://${place}/images/${PREFIX}-slow.qcow2?rate=${rate}`, { checksum });
  const percents: number[] = [];
  const note = async (): Promise<number> => {
    const percent = Number((await templateOf(id)).downloaddetails?.[0]?.downloadPercent ?? 0);
    if (percent !== percents.at(-1)) percents.push(percent);
    return percent;
  };
  await eventually('some of it has arrived', async () => (await note()) >= 30, { timeoutSeconds: 60, everyMs: 500 });
  assert.ok(percents.length >= 3, `its progress is shown: ${percents}`);
  assert.match((await templateOf(id)).status, /^\d+% Downloaded$/);

  const killed = await secondaryStorage();
  await inHost(killed.hostname, 'virsh', ['destroy', '--', killed.name], { timeoutSeconds: 60 });
  const heir = await eventually(
    'there is another secondary storage VM',
    async () => {
      await note();
      const [found] = await admin.list('listSystemVms', { systemvmtype: 'secondarystoragevm', state: 'Running', agentstate: 'Up' });
      return found && found.id !== killed.id ? found : null;
    },
    { timeoutSeconds: 180, everyMs: 500 },
  );
  await eventually(
    'the template is ready',
    async () => {
      await note();
      return (await templateOf(id)).isready;
    },
    { timeoutSeconds: 120, everyMs: 500 },
  );
  assert.equal(ranges[0], 'all');
  const resumed = ranges.map((range) => Number(/^bytes=(\d+)-/.exec(range)?.[1] ?? 0)).filter((from) => from > 0);
  assert.ok(resumed.length >= 1 && Math.max(...resumed) >= source.sizeBytes * 0.15, `the successor asked for the rest: ${ranges}`);
  assert.equal(percents.at(-1), 100);
  const [file, description] = [join(store, 'template', id, 'image.qcow2'), join(store, 'template', id, 'image.json')];
  assert.equal(JSON.parse(await readFile(description, 'utf8')).downloadedBytes, source.sizeBytes);
  await command('qemu-img', ['compare', '-s', '--', source.file, file], { timeoutSeconds: 60 });
  assert.notEqual(heir.name, killed.name);
  await remove(id);
  assert.deepEqual(await stored(id), []);
});
