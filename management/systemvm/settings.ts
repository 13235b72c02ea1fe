import { setting } from '../core/settings.ts';

const scopes = ['global', 'zone'] as const;
export const consoleSessionsMax = setting.integer('consoleproxy.session.max', 50, {
  min: 1,
  max: 10_000,
  scopes,
  category: 'Console Proxy',
  about: 'Console sessions that one console proxy takes.',
});
export const consoleStandby = setting.integer('consoleproxy.capacity.standby', 10, {
  max: 100_000,
  scopes,
  category: 'Console Proxy',
  about: 'Console sessions for which there is room in stand-by.',
});
export const consoleIdleMs = setting.integer('consoleproxy.session.timeout', 300_000, {
  min: 10_000,
  max: 86_400_000,
  scopes,
  category: 'Console Proxy',
  about: 'Milliseconds without input after which a console session ends.',
});
export const consoleProxiesMax = setting.integer('consoleproxy.launch.max', 10, {
  min: 1,
  max: 1000,
  scopes,
  category: 'Console Proxy',
  about: 'Most console proxies of a zone.',
});
export const secondaryStorageSessionsMax = setting.integer('secstorage.session.max', 50, {
  min: 1,
  max: 1000,
  scopes,
  category: 'Secondary Storage',
  about: 'Commands that one secondary storage VM takes at a time.',
});
export const secondaryStorageStandby = setting.integer('secstorage.capacity.standby', 10, {
  max: 100_000,
  scopes,
  category: 'Secondary Storage',
  about: 'Commands for which there is room in stand-by.',
});
export const secondaryStorageVmsMax = setting.integer('max.ssvm.count', 5, {
  min: 1,
  max: 100,
  scopes,
  category: 'Secondary Storage',
  about: 'Most secondary storage VMs of a zone.',
});
export const allowedInternalSites = setting.list('secstorage.allowed.internal.sites', '', {
  scopes,
  category: 'Secondary Storage',
  about: 'Internal networks and addresses that templates may be downloaded from, separated by commas.',
});
export const secondaryStorageProxy = setting.string('secstorage.proxy', '', {
  scopes,
  match: /^https?:\/\/[^\s@]+$/,
  category: 'Secondary Storage',
  about: 'HTTP proxy for downloads of templates.',
});
export const networkGcIntervalSeconds = setting.integer('network.gc.interval', 600, {
  min: 1,
  max: 86_400,
  category: 'Network',
  about: 'Seconds between two looks for networks that nobody uses.',
});
export const networkGcWaitSeconds = setting.integer('network.gc.wait', 600, {
  min: 1,
  max: 86_400,
  category: 'Network',
  about: 'Seconds that a network must be unused before it is shut down.',
});
export const systemVmSettings = [
  consoleSessionsMax,
  consoleStandby,
  consoleIdleMs,
  consoleProxiesMax,
  secondaryStorageSessionsMax,
  secondaryStorageStandby,
  secondaryStorageVmsMax,
  allowedInternalSites,
  secondaryStorageProxy,
  networkGcIntervalSeconds,
  networkGcWaitSeconds,
];
