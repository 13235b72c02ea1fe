import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually, type Params, type Reply } from '../../lab/client.ts';
import { storedImages } from '../../management/template/index.ts';
import { writeProgress } from '../../management/template/progress.ts';
import { type Cloud, startCloud } from '../cloud/cloud.ts';
import { ensureSimulatorZone, simulatorPlan } from '../cloud/simulator-zone.ts';
import { addTenant, type Tenant } from './accounts.ts';

const plain = { format: 'QCOW2', hypervisor: 'Simulator', url: 'http://images.simulated.example/a.qcow2' };
const ids = (rows: readonly Reply[]): string[] => rows.map(({ id }) => id).sort();

test('templates and ISOs through the API', { timeout: 240_000 }, async (t) => {
  const cloud = await startCloud({ downloadMs: 1500 });
  try {
    const { admin } = cloud;
    await t.test('without secondary storage nothing is registered', () => withoutStore(cloud));
    const zone = await ensureSimulatorZone(admin);
    const [ann, bob] = [await addTenant(cloud, 'ann'), await addTenant(cloud, 'bob')];
    await t.test('what is wrong with a registration is said at the door', () => refused(cloud, ann, zone.zoneId));
    await t.test('a download shows its progress and its end', () => progress(cloud, ann, zone.zoneId));
    await t.test('SS-09: a server that is away is told, tried again by itself, and the template gets ready', () =>
      away(cloud, ann, zone.zoneId),
    );
    await t.test('who sees which template', () => visibility(cloud, ann, bob, zone));
    await t.test('permissions of a template', () => permissions(ann, bob, zone.zoneId));
    await t.test('a template is changed and deleted', () => life(cloud, ann, bob, zone.zoneId));
    await t.test('machines keep what they are based on after the template is deleted', () => based(cloud, zone));
    await t.test('ISOs', () => isos(ann, bob, zone.zoneId));
    await t.test('a template for every zone comes into a zone that is added later', () => laterZone(cloud, zone.zoneId));
    await t.test('OS types and categories', () => osTypes(cloud, ann, zone.zoneId));
  } finally {
    await cloud.close();
  }
});

async function withoutStore({ admin }: Cloud) {
  await assert.rejects(admin.call('registerTemplate', { ...plain, name: 'none', zoneid: -1 }), { status: 431, message: /no zone yet/ });
  const { zone } = await admin.call('createZone', {
    name: 'bare',
    networktype: 'Advanced',
    dns1: '10.0.0.1',
    internaldns1: '10.0.0.1',
    guestcidraddress: '10.1.1.0/24',
  });
  await assert.rejects(admin.call('registerTemplate', { ...plain, name: 'none', zoneid: zone.id }), {
    status: 431,
    message: /the zone bare has no writable secondary storage/,
  });
  assert.deepEqual(await admin.list('listTemplates', { templatefilter: 'all' }), []);
  await admin.call('deleteZone', { id: zone.id });
}

async function refused({ admin }: Cloud, { client }: Tenant, zoneid: string) {
  const good = { ...plain, name: 'refused', zoneid };
  const wrong: [Params, number, RegExp][] = [
    [{ name: undefined }, 431, /missing parameter name/],
    [{ name: '  ' }, 431, /name is empty/],
    [{ url: 'ftp://images.simulated.example/a' }, 431, /http and https only/],
    [{ url: 'http://a:b@images.simulated.example/a' }, 431, /user name or password/],
    [{ url: `http://images.simulated.example/${'a'.repeat(3000)}` }, 431, /greater than max allowed length/i],
    [{ format: 'TAR' }, 431, /format; it must be one of QCOW2/],
    [{ hypervisor: 'VMware' }, 431, /hypervisor; it must be one of/],
    [{ checksum: 'abc' }, 431, /the checksum must be/],
    [{ zoneid: '01234567-89ab-7def-8123-456789abcdef' }, 431, /Invalid parameter zoneid value=01234567/],
    [{ ostypeid: 'Linux' }, 431, /Invalid parameter ostypeid/],
    [{ zoneid: undefined }, 431, /only root admins can register for every zone/],
    [{ zoneids: zoneid }, 431, /either zoneid or zoneids/],
    [{ templatetag: 'big' }, 531, /root admins only/],
    [{ account: 'bob' }, 431, /Unable to find account bob/],
  ];
  for (const [change, status, message] of wrong) {
    await assert.rejects(client.call('registerTemplate', { ...good, ...change }), { status, message }, JSON.stringify(change));
  }
  assert.deepEqual(await admin.list('listTemplates', { templatefilter: 'all', name: 'refused' }), []);
  await admin.call('updateConfiguration', { name: 'allow.public.user.templates', value: 'false' });
  await assert.rejects(client.call('registerTemplate', { ...good, ispublic: true }), { status: 531 });
  await admin.call('updateConfiguration', { name: 'allow.public.user.templates', value: 'true' });
}

async function progress({ management }: Cloud, { client }: Tenant, zoneid: string) {
  const reply = await client.call('registerTemplate', {
    ...plain,
    name: 'progress',
    zoneid,
    checksum: `{SHA-256}${'0'.repeat(64)}`,
    isfeatured: true,
    'details[0].rootDiskController': 'virtio',
  });
  assert.equal(reply.count, 1);
  const [template] = reply.template;
  assert.equal(template.isready, false);
  assert.equal(template.isfeatured, false, 'a user cannot say so');
  assert.equal(template.zoneid, zoneid);
  assert.deepEqual(template.details, { rootDiskController: 'virtio' });
  const { services } = management;
  const look = async () => (await client.list('listTemplates', { templatefilter: 'self', id: template.id }))[0];
  const image = await eventually('the download has begun', () =>
    services.db.read.findOneBy(storedImages, { templateId: template.id, state: 'DOWNLOAD_IN_PROGRESS' }),
  );
  const [ssvm] = await services.db.rows<{ id: string }>("SELECT id FROM agent WHERE kind = 'secondary-storage' AND state = 'Up'");
  const say = (receivedBytes: number, phase: 'downloading' | 'converting', id = ssvm?.id ?? '') =>
    writeProgress(
      services,
      { kind: 'secondary-storage', id },
      {
        secondaryStorage: { activeCommands: 1, downloads: [{ imageId: template.id, receivedBytes, totalBytes: 1000, phase }] },
      },
    );
  await say(405, 'downloading');
  assert.equal((await look()).status, '40% Downloaded');
  assert.deepEqual((await look()).downloaddetails, [
    { datastoreRole: 'Image', downloadPercent: '40', downloadState: 'DOWNLOAD_IN_PROGRESS' },
  ]);
  const before = await services.db.read.findOneByOrFail(storedImages, { id: image.id });
  await say(406, 'downloading');
  assert.deepEqual(await services.db.read.findOneByOrFail(storedImages, { id: image.id }), before, 'nothing is written for nothing');
  await say(900, 'downloading', '01234567-89ab-7def-8123-456789abcdef');
  assert.equal((await look()).status, '40% Downloaded', 'only a system VM of the zone is heard');
  await say(1000, 'converting');
  assert.equal((await look()).status, 'Installing Template');
  const ready = await eventually('ready', async () => {
    const shown = await look();
    return shown.isready ? shown : null;
  });
  assert.equal(ready.status, 'Download Complete');
  assert.equal(ready.size, 2 ** 30);
  assert.equal(ready.physicalsize, 2 ** 28);
  assert.match(ready.checksum, /^\{SHA-512\}[0-9a-f]{128}$/);
  await say(10, 'downloading');
  assert.equal((await look()).status, 'Download Complete', 'what comes late changes nothing');
}

async function away({ management }: Cloud, { client }: Tenant, zoneid: string) {
  const { services } = management;
  // One more than are tried before it is given up for now.
  const { template } = await client.call('registerTemplate', { ...plain, name: 'away', zoneid, url: `${plain.url}?away=6` });
  const { id } = template[0];
  const look = async () => (await client.list('listTemplates', { templatefilter: 'self', id }))[0];
  await eventually('the reason is told while it is tried', async () =>
    /^0% Downloaded; trying again: the server images.simulated.example refuses/.test((await look()).status),
  );
  const failed = await eventually(
    'given up for now',
    async () => {
      const shown = await look();
      return shown.downloaddetails[0].downloadState === 'DOWNLOAD_ERROR' ? shown : null;
    },
    { timeoutSeconds: 60 },
  );
  assert.match(failed.status, /refuses the connection; it is tried again at \d\d:\d\d UTC$/);
  assert.equal(failed.isready, false);
  const isLater = () =>
    services.db.rows<{ id: string; seconds: number }>(
      `SELECT id, TIMESTAMPDIFF(SECOND, NOW(3), retry_at) AS seconds FROM job WHERE saga = 'template.download' AND state = 'Queued'`,
    );
  const [later, ...others] = await isLater();
  assert.ok(later !== undefined && others.length === 0);
  await services.db.rows('UPDATE job SET retry_at = NULL WHERE id = ?', [later.id]);
  const ready = await eventually('ready', async () => {
    const shown = await look();
    return shown.isready ? shown : null;
  });
  assert.equal(ready.status, 'Download Complete');
  assert.deepEqual(await isLater(), [], 'and that is all');
  const [alert] = await services.db.rows<{ id: string; resolvedAt: Date | null }>(
    'SELECT id, resolved_at AS resolvedAt FROM alert WHERE resource_id = ?',
    [id],
  );
  assert.ok(alert?.resolvedAt, 'the alert has passed with its cause');
  await services.db.rows('DELETE FROM alert WHERE id = ?', [alert.id]);
  await client.run('deleteTemplate', { id });
}

async function visibility({ admin }: Cloud, ann: Tenant, bob: Tenant, zone: { zoneId: string; templateId: string }) {
  const add = async (name: string, more: Params) => {
    const { template } = await ann.client.call('registerTemplate', { ...plain, name, zoneid: zone.zoneId, ...more });
    await eventually(
      name,
      async () => (await ann.client.list('listTemplates', { templatefilter: 'self', id: template[0].id }))[0]?.isready,
    );
    return template[0].id as string;
  };
  const [own, open] = await Promise.all([add('own', {}), add('open', { ispublic: true })]);
  const seen = async ({ client }: Pick<Tenant, 'client'>, templatefilter: string) => {
    const rows = await client.list('listTemplates', { templatefilter });
    return ids(rows.filter(({ name }) => name !== 'progress'));
  };
  const featured = zone.templateId;
  for (const tenant of [ann, bob]) {
    assert.deepEqual(await seen(tenant, 'featured'), [featured]);
    assert.deepEqual(await seen(tenant, 'community'), [open]);
    assert.deepEqual(await seen(tenant, 'shared'), []);
  }
  assert.deepEqual(await seen(ann, 'self'), [own, open].sort());
  assert.deepEqual(await seen(ann, 'executable'), [own, open, featured].sort());
  assert.deepEqual(await seen(bob, 'self'), []);
  assert.deepEqual(await seen(bob, 'executable'), [open, featured].sort());
  await assert.rejects(seen(bob, 'all'), { status: 431 });
  await assert.rejects(seen(bob, 'mine'), { status: 431, message: /must be one of featured, self/ });
  await assert.rejects(bob.client.list('listTemplates'), { status: 431, message: /missing parameter templatefilter/ });
  assert.deepEqual(await seen({ client: admin }, 'all'), [own, open, featured].sort());
  assert.deepEqual(await seen({ client: admin }, 'self'), [featured], "an administrator's own");

  await assert.rejects(bob.client.list('listTemplates', { templatefilter: 'self', id: own }), {
    status: 431,
    message: /Invalid parameter id/,
  });
  const [shown] = await bob.client.list('listTemplates', { templatefilter: 'self', id: open });
  assert.equal(shown.url, undefined, 'the URL is for the owner');
  assert.equal((await ann.client.list('listTemplates', { templatefilter: 'self', id: open }))[0].url, plain.url);
  assert.equal((await ann.client.list('listTemplates', { templatefilter: 'self', ids: `${own},${open}` })).length, 2);
  assert.deepEqual(await ann.client.list('listTemplates', { templatefilter: 'self', name: 'ow' }), []);
  assert.deepEqual(ids(await ann.client.list('listTemplates', { templatefilter: 'self', keyword: 'ow' })), [own]);
  assert.deepEqual(await ann.client.list('listTemplates', { templatefilter: 'self', isready: false }), []);
  assert.deepEqual(await ann.client.list('listTemplates', { templatefilter: 'self', hypervisor: 'KVM' }), []);
  const page = await ann.client.call('listTemplates', { templatefilter: 'executable', page: 1, pagesize: 1 });
  assert.ok(page.count > 1);
  assert.equal(page.template.length, 1);
}

async function permissions(ann: Tenant, bob: Tenant, zoneid: string) {
  const [{ id }] = (await ann.client.call('registerTemplate', { ...plain, name: 'granted', zoneid })).template;
  const shared = async () => ids(await bob.client.list('listTemplates', { templatefilter: 'shared' }));
  const permitted = async () => (await ann.client.call('listTemplatePermissions', { id })).templatepermission;
  assert.deepEqual(await permitted(), { id, ispublic: false, domainid: ann.account.domainid, account: [] });
  await ann.client.call('updateTemplatePermissions', { id, op: 'add', accounts: 'bob' });
  await ann.client.call('updateTemplatePermissions', { id, op: 'add', accounts: 'bob' });
  assert.deepEqual((await permitted()).account, ['bob']);
  assert.deepEqual(await shared(), [id]);
  await assert.rejects(bob.client.call('updateTemplatePermissions', { id, ispublic: true }), {
    status: 431,
    message: /Invalid parameter id/,
  });
  await assert.rejects(bob.client.run('deleteTemplate', { id }), { status: 431 });
  await assert.rejects(
    ann.client.call('updateTemplatePermissions', { id, op: 'add', accounts: 'nobody' }),
    /Unable to find account nobody/,
  );
  await assert.rejects(ann.client.call('updateTemplatePermissions', { id, op: 'add' }), /needs accounts/);
  await assert.rejects(ann.client.call('updateTemplatePermissions', { id, isfeatured: true }), { status: 531 });
  await ann.client.call('updateTemplatePermissions', { id, op: 'remove', accounts: 'bob' });
  assert.deepEqual(await shared(), []);
  await ann.client.call('updateTemplatePermissions', { id, op: 'add', accounts: 'bob', ispublic: true });
  assert.equal((await permitted()).ispublic, true);
  await ann.client.call('updateTemplatePermissions', { id, op: 'reset' });
  assert.deepEqual(await permitted(), { id, ispublic: false, domainid: ann.account.domainid, account: [] });
  await ann.client.run('deleteTemplate', { id });
}

async function life({ admin, management }: Cloud, ann: Tenant, bob: Tenant, zoneid: string) {
  const [{ id }] = (await ann.client.call('registerTemplate', { ...plain, name: 'life', zoneid })).template;
  const { template } = await ann.client.call('updateTemplate', {
    id,
    name: 'lived',
    displaytext: 'A life',
    passwordenabled: true,
    'details[0].a': 'b',
  });
  assert.equal(template.id, id);
  assert.equal(template.name, 'lived');
  assert.equal(template.displaytext, 'A life');
  assert.equal(template.passwordenabled, true);
  assert.deepEqual(template.details, { a: 'b' });
  assert.deepEqual((await ann.client.call('updateTemplate', { id, cleanupdetails: true })).template.details, {});
  await assert.rejects(ann.client.call('updateTemplate', { id, name: ' ' }), /name is empty/);
  await assert.rejects(bob.client.call('updateTemplate', { id, name: 'stolen' }), { status: 431 });

  // While it is still being brought: the download ends without a template, and without an alert.
  assert.deepEqual(await ann.client.run('deleteTemplate', { id }), { success: true });
  assert.deepEqual(await ann.client.list('listTemplates', { templatefilter: 'self', id }), []);
  await assert.rejects(ann.client.call('updateTemplate', { id, name: 'again' }), { status: 431 });
  await eventually('its jobs end', async () => {
    const rows = await management.services.db.rows("SELECT id FROM job WHERE state IN ('Queued', 'Running', 'Unwinding')");
    return rows.length === 0;
  });
  const [stored] = await management.services.db.read.findBy(storedImages, { templateId: id });
  assert.equal(stored?.state, 'ABANDONED');
  assert.deepEqual(await admin.list('listAlerts', { type: 28 }), []);
  const events = (await ann.client.list('listEvents', { type: 'TEMPLATE.DELETE' })).map(({ state }) => state);
  assert.ok(events.includes('Completed'), events.join());
}

async function based({ admin, management }: Cloud, zone: { zoneId: string; serviceOfferingId: string }) {
  const [{ id }] = (await admin.call('registerTemplate', { ...plain, name: 'base', zoneid: zone.zoneId })).template;
  await eventually('base', async () => (await admin.list('listTemplates', { templatefilter: 'self', id }))[0]?.isready);
  const { virtualmachine: vm } = await admin.run('deployVirtualMachine', {
    zoneid: zone.zoneId,
    templateid: id,
    serviceofferingid: zone.serviceOfferingId,
    name: 'standing',
  });
  const { rows } = management.services.db;
  const copies = () => rows<{ pool_id: string; size_bytes: string }>('SELECT * FROM image_copy WHERE template_id = ?', [id]);
  const [copy] = await copies();
  assert.ok(copy, 'its image is on primary storage');
  const allocated = async () => {
    const [pool] = await admin.list('listStoragePools', { id: copy.pool_id });
    return pool.disksizeallocated;
  };
  await admin.run('deleteTemplate', { id });
  await management.reconciliation.runOnce('storage.imageCopies');
  assert.equal((await copies()).length, 1, 'a volume is based on it');
  await admin.run('stopVirtualMachine', { id: vm.id, forced: true });
  await admin.run('startVirtualMachine', { id: vm.id });
  await admin.run('destroyVirtualMachine', { id: vm.id, expunge: true });
  const before = await allocated();
  await management.reconciliation.runOnce('storage.imageCopies');
  await management.reconciliation.runOnce('storage.imageCopies');
  assert.equal((await copies()).length, 0);
  assert.equal(before - (await allocated()), Number(copy.size_bytes), 'its room is given back once');
}

async function isos(ann: Tenant, bob: Tenant, zoneid: string) {
  const url = 'http://images.simulated.example/a.iso';
  const reply = await ann.client.call('registerIso', { name: 'disc', displaytext: 'A disc', url, zoneid });
  assert.equal(reply.count, 1);
  const [{ id, format }] = reply.iso;
  assert.equal(format, 'ISO');
  assert.deepEqual(await ann.client.list('listTemplates', { templatefilter: 'self', name: 'disc' }), []);
  await assert.rejects(ann.client.call('updateTemplate', { id, name: 'x' }), { status: 431 }, 'an ISO is no template');
  await eventually('ready', async () => (await ann.client.list('listIsos', { id }))[0]?.isready);
  assert.deepEqual(ids(await ann.client.list('listIsos')), [id], 'what can be used is shown when no filter is given');
  assert.deepEqual(await bob.client.list('listIsos', { isofilter: 'executable' }), []);
  assert.deepEqual(await ann.client.list('listIsos', { isofilter: 'self', bootable: false }), []);
  await ann.client.call('updateIsoPermissions', { id, op: 'add', accounts: 'bob' });
  assert.deepEqual((await ann.client.call('listIsoPermissions', { id })).templatepermission.account, ['bob']);
  assert.deepEqual(ids(await bob.client.list('listIsos', { isofilter: 'sharedexecutable' })), [id]);
  assert.equal((await ann.client.call('updateIso', { id, bootable: false })).iso.bootable, false);
  await ann.client.run('deleteIso', { id, zoneid });
  assert.deepEqual(await ann.client.list('listIsos', { isofilter: 'self' }), []);
}

async function laterZone({ admin, management }: Cloud, firstZoneId: string) {
  const reply = await admin.call('registerTemplate', { ...plain, name: 'everywhere', zoneid: -1 });
  const [{ id, crossZones }] = reply.template;
  assert.equal(reply.count, 1);
  assert.equal(crossZones, true);
  const { zoneId } = await ensureSimulatorZone(admin, simulatorPlan(1, 1));
  await management.reconciliation.runOnce('template.zones');
  await management.reconciliation.runOnce('template.zones');
  const rows = async () => admin.list('listTemplates', { templatefilter: 'all', id });
  assert.deepEqual((await rows()).map((row) => row.zoneid).sort(), [firstZoneId, zoneId].sort());
  const [one, ...others] = await admin.list('listTemplates', { templatefilter: 'all', id, showunique: true });
  assert.deepEqual(others, []);
  assert.equal(one.zoneid, undefined);
  await admin.run('deleteTemplate', { id, zoneid: zoneId });
  await management.reconciliation.runOnce('template.zones');
  assert.deepEqual(
    (await rows()).map((row) => row.zoneid),
    [firstZoneId],
    'it is not brought back',
  );
  await assert.rejects(admin.run('deleteTemplate', { id, zoneid: zoneId }), /the template is not in the zone that was given/);
  await admin.run('deleteTemplate', { id });
  assert.deepEqual(await rows(), []);
}

async function osTypes({ admin }: Cloud, ann: Tenant, zoneid: string) {
  const [category] = await ann.client.list('listOsCategories', { name: 'Debian' });
  const types = await ann.client.list('listOsTypes', { oscategoryid: category.id });
  assert.ok(types.length > 5 && types.every(({ oscategoryname }) => oscategoryname === 'Debian'));
  const [type] = await ann.client.list('listOsTypes', { description: 'Debian GNU/Linux 12 (64-bit)' });
  assert.equal(type.fordisplay, undefined);
  const [{ id, ostypename }] = (await ann.client.call('registerTemplate', { ...plain, name: 'typed', zoneid, ostypeid: type.id })).template;
  assert.equal(ostypename, 'Debian GNU/Linux 12 (64-bit)');
  assert.deepEqual(ids(await ann.client.list('listTemplates', { templatefilter: 'self', oscategoryid: category.id })), [id]);
  assert.ok((await admin.list('listOsCategories')).length > 8);
}
