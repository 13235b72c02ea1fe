import { setting } from '../core/settings.ts';

export const userDataMaxBytes = setting.integer('vm.userdata.max.length', 32_768, {
  min: 0,
  max: 1_048_576,
  category: 'Virtual Machine',
  about: 'Largest user data of a virtual machine, in bytes after decoding.',
});
export const expungeDelaySeconds = setting.integer('expunge.delay', 86_400, {
  min: 1,
  max: 31_536_000,
  category: 'Virtual Machine',
  about: 'Seconds that a destroyed virtual machine can be recovered.',
});
export const expungeIntervalSeconds = setting.integer('expunge.interval', 86_400, {
  min: 1,
  max: 31_536_000,
  category: 'Virtual Machine',
  about: 'Seconds between two looks for destroyed virtual machines to expunge.',
});
export const usersMayExpunge = setting.boolean('allow.user.expunge.recover.vm', false, {
  scopes: ['global', 'account', 'domain'],
  category: 'Virtual Machine',
  about: 'Users may expunge and recover their own destroyed virtual machines.',
});
export const consoleVia = setting.string('console.endpoint.via', 'proxy', {
  scopes: ['global', 'zone'],
  match: /^(proxy|management)$/,
  category: 'Console Proxy',
  about: "Whose address is in console URLs: the console proxy's own, or the management server's, which passes it on.",
});
export const endpointUrl = setting.string('endpoint.url', '', {
  match: /^https?:\/\/[A-Za-z0-9.:[\]-]+(\/[\w/.-]*)?$/,
  category: 'Console Proxy',
  about: 'URL under which browsers reach the management server; empty for its own address and port.',
});
export const consoleSourceCheck = setting.boolean('novnc.console.sourceip.check.enabled', false, {
  scopes: ['global', 'zone'],
  category: 'Console Proxy',
  about: 'A console URL works only from the address that asked for it.',
});
export const vmSettings = [
  userDataMaxBytes,
  expungeDelaySeconds,
  expungeIntervalSeconds,
  usersMayExpunge,
  consoleVia,
  endpointUrl,
  consoleSourceCheck,
];
