import { IsNull } from 'typeorm';
import { CloudError } from '../../../protocol/errors.ts';
import { newId } from '../../../protocol/ids.ts';
import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { lockZone, zoneKind } from '../../infra/index.ts';
import { type ImageStoreRow, imageStores } from '../../template/index.ts';
import { imageStoreProviders, readStoreDetails, readStoreUrl } from '../rules.ts';
import { imageStoreView } from '../views.ts';

export const addImageStore = command({
  name: 'addImageStore',
  about: 'Adds secondary storage to a zone, for its templates and ISOs; the secondary storage VM of the zone mounts it.',
  access: 'admin',
  event: { type: 'IMAGE.STORE.CREATE', text: 'adding image store', resource: 'ImageStore' },
  params: {
    provider: required(
      p.word('NFS, or Directory for a directory on the machine that the secondary storage service runs on', imageStoreProviders),
    ),
    url: p.string('where it is: nfs://server/path, or file:///path', { max: 2048 }),
    zoneid: p.entity('the zone', zoneKind, 'use'),
    name: p.string('the name of the image store; its URL when left out'),
    details: p.maps('details of the image store; nfs.version is 3, 4, 4.1 or 4.2', ['key', 'value']),
  },
  reply: reply.one(imageStoreView),
  run: async ({ db, wake }, { provider, url, zoneid: zone, name, details = [] }) => {
    if (url === undefined || url.trim() === '') throw new CloudError('InvalidParameter', 'an image store needs its url');
    if (!zone) throw new CloudError('InvalidParameter', 'an image store needs zoneid, the zone it serves');
    const place = readStoreUrl(provider, url);
    const readDetails = readStoreDetails(details);
    const shown = await db.transact(async (tx) => {
      // The zone's row is the lock: the same place is not made a store twice.
      await lockZone(tx, zone.id);
      const others = await tx.find(imageStores, { where: { zoneId: zone.id, removedAt: IsNull() } });
      const same = others.find(({ server, path }) => server === place.server && path === place.path);
      if (same) throw new CloudError('InvalidParameter', `the image store ${same.name} is at ${url.trim()} already`);
      const row: ImageStoreRow = {
        id: newId('imageStore'),
        zoneId: zone.id,
        name: (name ?? '').trim() === '' ? url.trim().slice(0, 255) : (name ?? '').trim(),
        provider,
        url: url.trim(),
        ...place,
        readOnly: false,
        totalBytes: null,
        usedBytes: null,
        details: readDetails,
        createdAt: new Date(),
        removedAt: null,
      };
      await tx.insert(imageStores, row);
      return { ...row, zoneName: zone.name };
    });
    wake('storage');
    return shown;
  },
});
