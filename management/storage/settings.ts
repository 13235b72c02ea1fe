import { setting } from '../core/settings.ts';

export const storageOverprovisioning = setting.decimal('storage.overprovisioning.factor', 2, {
  min: 1,
  max: 100,
  scopes: ['global', 'zone', 'storagepool'],
  category: 'Storage',
  about: 'How many times its size a storage pool may be promised to volumes.',
});
export const storageDisableThreshold = setting.decimal('pool.storage.capacity.disablethreshold', 0.85, {
  min: 0,
  max: 1,
  scopes: ['global', 'zone'],
  category: 'Alert',
  about: 'Share of a storage pool in real use above which no new volume is put on it.',
});
export const storageNotificationThreshold = setting.decimal('cluster.storage.capacity.notificationthreshold', 0.75, {
  min: 0,
  max: 1,
  scopes: ['global', 'zone', 'storagepool'],
  category: 'Alert',
  about: 'Share of a storage pool in real use above which an alert is raised.',
});
export const storageSettings = [storageOverprovisioning, storageDisableThreshold, storageNotificationThreshold];
