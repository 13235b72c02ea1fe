import { type Area, asSagas, asTables } from '../core/area.ts';
import { asCommands } from '../core/command.ts';
import { addImageStore } from './commands/add-image-store.ts';
import { createStoragePool } from './commands/create-storage-pool.ts';
import { deleteImageStore } from './commands/delete-image-store.ts';
import { deleteStoragePool } from './commands/delete-storage-pool.ts';
import { listImageStores } from './commands/list-image-stores.ts';
import { listStoragePools } from './commands/list-storage-pools.ts';
import { listVolumes } from './commands/list-volumes.ts';
import { updateImageStore } from './commands/update-image-store.ts';
import { updateStoragePool } from './commands/update-storage-pool.ts';
import { storageTables } from './entities.ts';
import { attachPools } from './pools.ts';
import { attachReconciler } from './reconcilers/attach.ts';
import { imageCopiesReconciler } from './reconcilers/image-copies.ts';
import { leftoversReconciler } from './reconcilers/leftovers.ts';
import { measureReconciler, measureStores } from './reconcilers/measure.ts';
import { createStoragePoolSaga } from './sagas/create-storage-pool.ts';
import { deleteStoragePoolSaga } from './sagas/delete-storage-pool.ts';
import { storageSettings } from './settings.ts';

export { type ImageStoreRow, imageStoreKind, imageStores } from '../template/index.ts';
export {
  type ImageCopyRow,
  imageCopies,
  type StoragePoolRow,
  storagePoolHosts,
  storagePools,
  type VolumeRow,
  volumes,
} from './entities.ts';
export { storagePoolKind, volumeKind } from './kinds.ts';
export { storageOverprovisioning } from './settings.ts';
export { loadStoragePools, loadVolumes, storagePoolView, type VolumeShown, volumeView } from './views.ts';
export { allocateVolume, ensureImage, ensureVolume, expungeVolumes, hostOfPool, hostsBeyondReach, volumesOf } from './volumes.ts';

export const storageArea: Area = {
  name: 'storage',
  tables: asTables(...storageTables),
  commands: asCommands(
    createStoragePool,
    listStoragePools,
    updateStoragePool,
    deleteStoragePool,
    addImageStore,
    listImageStores,
    updateImageStore,
    deleteImageStore,
    listVolumes,
  ),
  sagas: asSagas(createStoragePoolSaga, deleteStoragePoolSaga),
  reconcilers: [attachReconciler, measureReconciler, imageCopiesReconciler, leftoversReconciler],
  settings: storageSettings,
  agentHooks: { prepare: attachPools, up: measureStores },
};
