/** What addHost's `url` says: where a host is. */
import { lookup } from 'node:dns/promises';
import { isIPv4 } from 'node:net';
import { CloudError } from '../../protocol/errors.ts';

export type HostPlace =
  | { readonly kind: 'ssh'; readonly name: string; readonly port: number }
  | { readonly kind: 'simulated'; readonly url: string };

const SSH_PORT = 22;

/** `10.0.0.11`, `http://10.0.0.11`, `http://kvm1.example:2222`, or `http://sim/c0/h0` for a simulated host. */
export function readHostUrl(text: string): HostPlace {
  const wrong = new CloudError(
    'InvalidParameter',
    `url ${text.slice(0, 100)} must be http:// and the address of the host, or http://sim/… for a simulated one`,
  );
  let url: URL;
  try {
    url = new URL(text.includes('://') ? text : `http://${text}`);
  } catch {
    throw wrong;
  }
  if (!['http:', 'https:', 'ssh:'].includes(url.protocol)) throw wrong;
  // A password in a URL ends up in logs and histories.
  if (url.username !== '' || url.password !== '')
    throw new CloudError('InvalidParameter', 'url must not carry a user name or password; there are parameters for them');
  if (url.hostname === 'sim') {
    if (url.pathname === '/' || url.search !== '' || url.hash !== '') throw wrong;
    return { kind: 'simulated', url: `http://sim${url.pathname}` };
  }
  if (url.hostname === '' || url.pathname.length > 1 || url.search !== '' || url.hash !== '') throw wrong;
  // A URL does not show the usual port of its scheme, which is none of ours.
  const explicit = /:(\d+)\/?$/.exec(text)?.[1];
  return { kind: 'ssh', name: url.hostname, port: explicit === undefined ? SSH_PORT : Number(explicit) };
}

/** Its IPv4 address. Other hosts send VXLAN there and console proxies ask there for VNC, so a name is looked up once, here. */
export async function addressOfHost(name: string): Promise<string> {
  if (isIPv4(name)) return name;
  const found = await lookup(name, { family: 4 }).catch((error: unknown) => {
    throw new CloudError('InvalidParameter', `the host name ${name.slice(0, 100)} has no IPv4 address`, { cause: error });
  });
  return found.address;
}
