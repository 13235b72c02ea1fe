import { startCloud } from './cloud/cloud.ts';
import { ensureSimulatorZone } from './cloud/simulator-zone.ts';
const t0 = Date.now();
const cloud = await startCloud({ downloadMs: 200 });
console.log('cloud', Date.now() - t0);
try {
  const ids = await ensureSimulatorZone(cloud.admin);
  console.log('zone', Date.now() - t0, ids);
  const show = async (c: string, p = {}) => console.log(c, JSON.stringify(await cloud.admin.call(c, p).catch((e) => e.message), null, 1).slice(0, 2500));
  await show('listTemplates', { templatefilter: 'all' });
  await show('listStoragePools');
  await show('listImageStores');
  await show('listVolumes', { listall: true, listsystemvms: true });
  await show('listVolumes', { listall: true });
  await show('listOsTypes', { keyword: 'Debian', page: 1, pagesize: 2 });
  await show('listOsCategories', {});
  await show('listTemplates', { templatefilter: 'executable', id: ids.templateId, showunique: true });
  await show('listAlerts');
} finally {
  await cloud.close();
}
