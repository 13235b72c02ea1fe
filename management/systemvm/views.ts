import { CloudError } from '../../protocol/errors.ts';
import type { SystemVmKindName } from '../../protocol/kinds.ts';
import type { Id } from '../../protocol/schema.ts';
import type { Database } from '../core/db.ts';
import { shownPath } from '../core/owners.ts';
import { entityKind } from '../core/params.ts';
import type { StepContext } from '../core/saga.ts';
import { type Field, f, show, view } from '../core/view.ts';
import { type NicShown, nicFields, nicsOf } from '../network/index.ts';
import { type SystemVmRow, systemVms } from './entities.ts';
import { systemTemplate } from './template.ts';

/** Names of the kinds in the API. */
export const apiKinds: Readonly<Record<SystemVmKindName, string>> = {
  'console-proxy': 'consoleproxy',
  'secondary-storage': 'secondarystoragevm',
  router: 'domainrouter',
};

export const systemVmKind = entityKind<SystemVmRow>({
  noun: 'system VM',
  find: (tx, id) =>
    tx.findOne(systemVms, { where: { id: id as Id<'machine'> } }).then((row) => (row && row.kind !== 'router' ? row : null)),
  removed: ({ removedAt }) => removedAt !== null,
  owner: () => null,
});
export type RouterRow = SystemVmRow & { accountId: string; domainId: string };
export const routerKind = entityKind<RouterRow>({
  noun: 'router',
  find: async (tx, id) => {
    const row = await tx.findOne(systemVms, { where: { id: id as Id<'machine'>, kind: 'router' } });
    if (!row) return null;
    // Whose network it serves decides who may see it; the machine itself is the cloud's.
    const [owner] = await tx.query('SELECT account_id AS accountId, domain_id AS domainId FROM network WHERE id = ?', [row.networkId]);
    return { ...row, accountId: owner?.accountId ?? '', domainId: owner?.domainId ?? '' };
  },
  removed: ({ removedAt }) => removedAt !== null,
  owner: (row) => row,
});

export interface SystemVmShown {
  readonly id: Id<'machine'>;
  readonly kind: SystemVmKindName;
  readonly name: string;
  readonly state: string;
  readonly agentState: string;
  readonly agentSince: Date;
  readonly load: number;
  readonly version: string | null;
  readonly currentVersion: string | null;
  readonly zoneId: string;
  readonly zoneName: string;
  readonly podId: string | null;
  readonly podName: string | null;
  readonly hostId: string | null;
  readonly hostName: string | null;
  readonly hostAgentState: string | null;
  readonly hypervisor: string;
  readonly templateId: string | null;
  readonly templateName: string | null;
  readonly serviceOfferingId: string;
  readonly serviceOfferingName: string;
  readonly dns1: string;
  readonly dns2: string | null;
  readonly networkDomain: string | null;
  readonly createdAt: Date;
  readonly networkId: string | null;
  readonly networkName: string | null;
  readonly accountName: string | null;
  readonly domainId: string | null;
  readonly domainName: string | null;
  readonly domainPath: string | null;
  readonly nics: readonly NicShown[];
}

const nic = (row: SystemVmShown, role: string) => row.nics.find((each) => each.role === role);
const addressOf = (role: string, what: 'address' | 'mac' | 'netmask') => (row: SystemVmShown) => nic(row, role)?.[what];

const common = {
  id: f.string('the id', (row) => row.id),
  name: f.string('the name', (row) => row.name),
  zoneid: f.string('the zone', (row) => row.zoneId),
  zonename: f.string('the name of the zone', (row) => row.zoneName),
  podid: f.string('the pod', (row) => row.podId),
  podname: f.string('the name of the pod', (row) => row.podName),
  hostid: f.string('the host it runs on', (row) => row.hostId),
  hostname: f.string('the name of the host', (row) => row.hostName),
  hostcontrolstate: f.string('the state of the host', (row) => row.hostAgentState),
  hypervisor: f.string('the hypervisor', (row) => row.hypervisor),
  arch: f.string('the architecture', () => 'x86_64'),
  templateid: f.string('the template', (row) => row.templateId),
  templatename: f.string('the name of the template', (row) => row.templateName),
  serviceofferingid: f.string('the system offering', (row) => row.serviceOfferingId),
  serviceofferingname: f.string('the name of the system offering', (row) => row.serviceOfferingName),
  dns1: f.string('the first DNS server', (row) => row.dns1),
  dns2: f.string('the second DNS server', (row) => row.dns2),
  gateway: f.string('the gateway of the public network', (row) => nic(row, 'public')?.gateway),
  networkdomain: f.string('the DNS domain', (row) => row.networkDomain),
  linklocalip: f.string('the address on the control network', addressOf('control', 'address')),
  linklocalmacaddress: f.string('the MAC on the control network', addressOf('control', 'mac')),
  linklocalnetmask: f.string('the netmask of the control network', addressOf('control', 'netmask')),
  publicip: f.string('the public address', addressOf('public', 'address')),
  publicmacaddress: f.string('the MAC on the public network', addressOf('public', 'mac')),
  publicnetmask: f.string('the netmask of the public network', addressOf('public', 'netmask')),
  created: f.date('when it was made', (row) => row.createdAt),
} satisfies Record<string, Field<SystemVmShown>>;

export const systemVmView = view<SystemVmShown>('SystemVmResponse', 'systemvm', {
  ...common,
  systemvmtype: f.string('what it is for: consoleproxy or secondarystoragevm', (row) => apiKinds[row.kind]),
  state: f.string('its state; Starting until its agent is up', (row) => row.state),
  agentstate: f.string('the state of its agent', (row) => row.agentState),
  disconnected: f.date('since when its agent is away', (row) =>
    ['Alert', 'Disconnected', 'Down'].includes(row.agentState) ? row.agentSince : null,
  ),
  version: f.string('the version of its programs', (row) => row.version),
  privateip: f.string('the address on the management network', addressOf('management', 'address')),
  privatemacaddress: f.string('the MAC on the management network', addressOf('management', 'mac')),
  privatenetmask: f.string('the netmask of the management network', addressOf('management', 'netmask')),
  activeviewersessions: f.integer('open console sessions', (row) => (row.kind === 'console-proxy' ? row.load : null)),
});

export const routerView = view<SystemVmShown>('DomainRouterResponse', 'router', {
  ...common,
  // The contract gives this one field a type of its own.
  state: { ...f.string<SystemVmShown>('its state; Starting until its agent is up', (row) => row.state) },
  role: f.string('what it is for', () => 'VIRTUAL_ROUTER'),
  redundantstate: f.string('its part in a pair', () => 'UNKNOWN'),
  isredundantrouter: f.boolean('true if it is one of a pair', () => false),
  account: f.string('the owner of its network', (row) => row.accountName),
  domainid: f.string('the domain of the owner', (row) => row.domainId),
  domain: f.string('the name of the domain of the owner', (row) => row.domainName),
  domainpath: f.string('the path of the domain of the owner', (row) => (row.domainPath === null ? null : shownPath(row.domainPath))),
  guestnetworkid: f.string('the network it serves', (row) => row.networkId),
  guestnetworkname: f.string('the name of the network it serves', (row) => row.networkName),
  guestipaddress: f.string('its address in the guest network', addressOf('guest', 'address')),
  guestmacaddress: f.string('its MAC in the guest network', addressOf('guest', 'mac')),
  guestnetmask: f.string('the netmask of the guest network', addressOf('guest', 'netmask')),
  version: f.string('the version of its template', (row) => row.templateName),
  softwareversion: f.string('the version of its programs', (row) => row.version),
  requiresupgrade: f.boolean(
    'true if newer programs are there',
    (row) => row.version !== null && row.currentVersion !== null && row.version !== row.currentVersion,
  ),
  nic: f.set('its NICs', (row) => row.nics, nicFields),
});

type Loaded = Pick<Database, 'rows'>;
/** Four statements, whatever the number. */
export async function loadSystemVms(db: Loaded, ids: readonly string[], currentVersion: string | null): Promise<SystemVmShown[]> {
  if (ids.length === 0) return [];
  const rows = await db.rows<Omit<SystemVmShown, 'nics' | 'currentVersion'>>(
    `SELECT s.id AS id, s.kind AS kind, m.instance_name AS name, m.state AS state, a.state AS agentState, a.state_since AS agentSince, a.load AS \`load\`, s.version AS version,
            s.zone_id AS zoneId, z.name AS zoneName, m.pod_id AS podId, p.name AS podName, m.host_id AS hostId, h.name AS hostName, ha.state AS hostAgentState, m.hypervisor AS hypervisor,
            m.template_id AS templateId, t.name AS templateName, m.service_offering_id AS serviceOfferingId, o.name AS serviceOfferingName, z.dns1 AS dns1, z.dns2 AS dns2,
            COALESCE(n.network_domain, z.network_domain) AS networkDomain, s.created_at AS createdAt, n.id AS networkId, n.name AS networkName,
            ac.name AS accountName, d.id AS domainId, d.name AS domainName, d.path AS domainPath
       FROM system_vm s JOIN machine m ON m.id = s.id JOIN agent a ON a.id = s.id JOIN zone z ON z.id = s.zone_id JOIN service_offering o ON o.id = m.service_offering_id
       LEFT JOIN pod p ON p.id = m.pod_id LEFT JOIN host h ON h.id = m.host_id LEFT JOIN agent ha ON ha.id = m.host_id LEFT JOIN template t ON t.id = m.template_id
       LEFT JOIN network n ON n.id = s.network_id LEFT JOIN account ac ON ac.id = n.account_id LEFT JOIN domain d ON d.id = n.domain_id
      WHERE s.id IN (?)`,
    [ids],
  );
  const plugged = await nicsOf(db, ids);
  return rows.map((row) => ({ ...row, currentVersion, nics: plugged.filter(({ machineId }) => machineId === row.id) }));
}

/** The jobresult of a job on a system VM or router; a destroyed one is shown as it was last. */
export async function systemVmResult({ db, config }: StepContext, id: Id<'machine'>): Promise<Record<string, unknown>> {
  const [row] = await loadSystemVms(db, [id], (await systemTemplate(config))?.iso.version ?? null);
  if (!row) throw new CloudError('NotFound', 'the system VM is gone');
  const { key, fields } = row.kind === 'router' ? routerView : systemVmView;
  return { [key]: show(fields, row, { admin: true }) };
}
