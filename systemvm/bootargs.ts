/** The parameters a system VM boots with: `key=value` or `nephos.key=value` words on the kernel's command line, beside the kernel's own. */
import { CloudError } from '../protocol/errors.ts';
import { prefixOfNetmask } from '../protocol/ip4.ts';
import { type NicRole, nicRoles, type SystemVmKindName, systemVmKindNames } from '../protocol/kinds.ts';
import { ApplyAuthorizedKeys } from '../protocol/messages/systemvm.ts';
import { type Id, type Schema, Secret, s } from '../protocol/schema.ts';

export interface BootNic {
  /** The name the NIC has after `network.ts` has found it by its MAC. */
  readonly device: string;
  readonly mac: string;
  readonly role: NicRole;
  /** Null where the role's own configuration brings the address later. */
  readonly address: string | null;
  readonly prefix: number;
  readonly mtu: number | null;
}

export interface BootArguments {
  readonly kind: SystemVmKindName;
  readonly name: string;
  readonly id: Id<'machine'>;
  readonly zoneId: Id<'zone'>;
  /** Management servers as `host:port`, in the order given. */
  readonly servers: readonly string[];
  readonly token: Secret;
  readonly caSha256: string;
  /** One OpenSSH public key line. */
  readonly authorizedKey: string;
  readonly nics: readonly BootNic[];
  readonly defaultRoute: { readonly gateway: string; readonly device: string } | null;
  readonly managementCidrs: readonly string[];
  /** Null where the management networks are on the link itself. */
  readonly localGateway: string | null;
  readonly dnsServers: readonly string[];
  readonly internalDnsServers: readonly string[];
  readonly domain: string | null;
}

const NIC_KEY = /^eth(\d)(ip|mask|role|mac|mtu)$/;
const NIC_LIKE = /^eth\d/;
const plainKeys = [
  ...['type', 'name', 'id', 'zone', 'host', 'port', 'token', 'ca', 'authorized_key', 'gateway', 'gatewaydev', 'mgmtcidr', 'localgw'],
  ...['dns1', 'dns2', 'internaldns1', 'internaldns2', 'domain'],
] as const;
type PlainKey = (typeof plainKeys)[number];
const isPlainKey = (key: string): key is PlainKey => plainKeys.some((known) => known === key);

const publicKeyLine = ApplyAuthorizedKeys.ask;
const port = s.string({ match: /^[1-9]\d{0,4}$/ });
const prefixOf = (netmask: string): number | null => {
  try {
    return prefixOfNetmask(netmask);
  } catch {
    return null;
  }
};

/** Reads `line`; every problem of it is in the one error, so a failed boot needs one look. */
export function parseBootArguments(line: string): BootArguments {
  const problems: string[] = [];
  const plain = new Map<string, string>();
  const nicFields = new Map<number, Map<string, string>>();
  for (const word of line.trim().split(/\s+/)) {
    const equals = word.indexOf('=');
    if (equals < 1) continue;
    // The kernel takes at most thirty or so words that it does not know; a dot in the name takes one out of that count.
    const key = word.slice(0, equals).replace(/^nephos\./, '');
    const value = word.slice(equals + 1);
    const nic = NIC_KEY.exec(key);
    const fields = nic ? (nicFields.get(Number(nic[1])) ?? new Map<string, string>()) : plain;
    const field = nic ? String(nic[2]) : key;
    if (nic) nicFields.set(Number(nic[1]), fields);
    else if (NIC_LIKE.test(key)) problems.push(`${key} is not known`);
    // Words of the kernel's own, such as console=, may come many times.
    else if (!isPlainKey(key)) continue;
    if (fields.has(field)) problems.push(`${key} is given twice`);
    fields.set(field, value);
  }

  const check = <T>(schema: Schema<T>, value: unknown, key: string): T | undefined => {
    const result = schema.safeParse(value);
    if (result.success) return result.data;
    problems.push(`${key} ${result.error.issues[0]?.message ?? 'is not valid'}`);
    return undefined;
  };
  const required = <T>(key: PlainKey, schema: Schema<T>): T | undefined => {
    const value = plain.get(key);
    if (value !== undefined && value !== '') return check(schema, value, key);
    problems.push(`${key} is missing`);
    return undefined;
  };
  const optional = <T>(key: PlainKey, schema: Schema<T>): T | null => {
    const value = plain.get(key);
    return value === undefined || value === '' ? null : (check(schema, value, key) ?? null);
  };
  const list = <T>(key: PlainKey, schema: Schema<T>): T[] =>
    (plain.get(key) ?? '')
      .split(',')
      .filter((item) => item !== '')
      .flatMap((item) => check(schema, item, key) ?? []);

  const typeName = plain.get('type');
  const kind = systemVmKindNames.find((name) => name === typeName);
  if (kind === undefined) problems.push(typeName ? `type ${JSON.stringify(typeName)} is not known` : 'type is missing');
  const name = required('name', s.hostName());
  const id = required('id', s.id('machine'));
  const zoneId = required('zone', s.id('zone'));
  const hosts = list('host', s.hostName());
  if (hosts.length === 0) problems.push('host is missing');
  const serverPort = required('port', port);
  const token = required('token', s.string({ min: 16, max: 200, match: /^[A-Za-z0-9_-]+$/ }));
  const caSha256 = required('ca', s.sha256());
  const keyText = required('authorized_key', s.string({ max: 1500, match: /^[A-Za-z0-9+/]+=*$/ }));
  const keyLine = keyText === undefined ? '' : Buffer.from(keyText, 'base64').toString('utf8').trim();
  if (keyText !== undefined && !publicKeyLine.safeParse({ keys: [keyLine] }).success)
    problems.push('authorized_key is not the base64 of an OpenSSH public key');

  const nics = [...nicFields.entries()]
    .sort(([a], [b]) => a - b)
    .flatMap(([index, fields]): BootNic[] => {
      const device = `eth${index}`;
      const mac = check(s.mac(), fields.get('mac') ?? '', `${device}mac`);
      const role = check(s.oneOf(...nicRoles), fields.get('role') ?? '', `${device}role`);
      const ipText = fields.get('ip') ?? '';
      const address = ipText === '' ? null : (check(s.ip4(), ipText, `${device}ip`) ?? null);
      const prefix = prefixOf(fields.get('mask') ?? '');
      if (address !== null && prefix === null) problems.push(`${device}mask must be a network mask`);
      const mtuText = fields.get('mtu');
      const mtu = mtuText === undefined ? null : (check(s.int({ min: 576, max: 9216 }), Number(mtuText), `${device}mtu`) ?? null);
      return mac === undefined || role === undefined ? [] : [{ device, mac, role, address, prefix: prefix ?? 32, mtu }];
    });
  for (const [what, values] of [
    ['MAC', nics.map(({ mac }) => mac)],
    ['role', nics.map(({ role }) => role)],
  ] as const)
    if (new Set(values).size !== values.length) problems.push(`two NICs have the same ${what}`);
  const control = nics.find(({ role }) => role === 'control');
  if (control === undefined || control.address === null) problems.push('a control NIC with an address is missing');

  const gateway = optional('gateway', s.ip4());
  const gatewayDevice = optional('gatewaydev', s.string({ match: /^eth\d$/ }));
  if ((gateway === null) !== (gatewayDevice === null)) problems.push('gateway and gatewaydev must be given together');
  if (gatewayDevice !== null && !nics.some(({ device }) => device === gatewayDevice))
    problems.push(`gatewaydev ${gatewayDevice} is not a NIC`);
  const managementCidrs = list('mgmtcidr', s.cidr4());
  const localGateway = plain.get('localgw') === 'none' ? null : optional('localgw', s.ip4());
  const dnsServers = [optional('dns1', s.ip4()), optional('dns2', s.ip4())].flatMap((address) => address ?? []);
  const internalDnsServers = [optional('internaldns1', s.ip4()), optional('internaldns2', s.ip4())].flatMap((address) => address ?? []);
  const domain = optional('domain', s.hostName());

  if (
    problems.length > 0 ||
    kind === undefined ||
    name === undefined ||
    id === undefined ||
    zoneId === undefined ||
    serverPort === undefined ||
    token === undefined ||
    caSha256 === undefined
  )
    throw new CloudError('InvalidParameter', `the boot arguments cannot be used: ${problems.join('; ')}`);
  return {
    kind,
    name,
    id,
    zoneId,
    servers: hosts.map((host) => `${host}:${serverPort}`),
    token: new Secret(token),
    caSha256,
    authorizedKey: keyLine,
    nics,
    defaultRoute: gateway !== null && gatewayDevice !== null ? { gateway, device: gatewayDevice } : null,
    managementCidrs,
    localGateway,
    dnsServers,
    internalDnsServers,
    domain,
  };
}
