/**
 * The only ways a value gets into a configuration text. The schemas have already refused anything hostile; these functions are the
 * second lock, for a text with a space, a newline, a quote, a comma or a brace would be read as something else by dnsmasq or nft.
 */
import { isIPv4 } from 'node:net';
import { CloudError } from '../protocol/errors.ts';
import { cidrOf, ip4ToNumber } from '../protocol/ip4.ts';

const refuse = (what: string, value: string): never => {
  throw new CloudError('InvalidParameter', `${JSON.stringify(value.slice(0, 80))} cannot be ${what}`);
};

export const address = (value: string): string => (isIPv4(value) ? value : refuse('an address', value));
export const cidr = (value: string): string => {
  const [start = '', prefix = ''] = value.split('/');
  return isIPv4(start) && /^([12]?\d|3[0-2])$/.test(prefix) ? networkOf(start, Number(prefix)) : refuse('a network', value);
};
export const device = (value: string): string => (/^[a-z][a-z0-9]{0,14}$/.test(value) ? value : refuse('a device', value));
export const mac = (value: string): string => (/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(value) ? value : refuse('a MAC', value));
export const hostName = (value: string): string =>
  value.length <= 253 && /^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/.test(value) ? value.toLowerCase() : refuse('a host name', value);
export const integer = (value: number): string => (Number.isSafeInteger(value) ? String(value) : refuse('a whole number', String(value)));

/** The network that `value` is in, as `10.1.1.0/24`. */
export const networkOf = (value: string, prefix: number): string => cidrOf(address(value), prefix);
/** Orders addresses by number, so that equal configurations give equal files. */
export const byAddress = (a: string, b: string): number => ip4ToNumber(a) - ip4ToNumber(b);
