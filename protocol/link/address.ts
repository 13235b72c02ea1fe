import { CloudError } from '../errors.ts';

/** Splits `host:port`; an IPv6 address stands in brackets. */
export function splitAddress(server: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]/\s]+)):(\d{1,5})$/.exec(server);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || !(port >= 1 && port <= 65_535))
    throw new CloudError('InvalidParameter', `${server} is not of the form host:port`);
  return { host, port };
}
