import { type Area, asTables } from '../core/area.ts';
import { storageTables } from './entities.ts';
import { storageDisableThreshold, storageOverprovisioning } from './settings.ts';

export { type ImageStoreRow, imageStores } from '../template/index.ts';
export { type ImageCopyRow, imageCopies, type StoragePoolRow, storagePools, type VolumeRow, volumes } from './entities.ts';
export { allocateVolume, ensureImage, ensureVolume, expungeVolumes, hostOfPool, volumesOf } from './volumes.ts';

export const storageArea: Area = {
  name: 'storage',
  tables: asTables(...storageTables),
  commands: [],
  sagas: [],
  reconcilers: [],
  settings: [storageOverprovisioning, storageDisableThreshold],
};
