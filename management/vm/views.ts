import { In } from 'typeorm';
import type { Id } from '../../protocol/schema.ts';
import type { Database } from '../core/db.ts';
import { shownPath } from '../core/owners.ts';
import { entityKind } from '../core/params.ts';
import { f, view } from '../core/view.ts';
import { type NicShown, nicFields, nicsOf } from '../network/index.ts';
import { type SshKeyPairRow, sshKeyPairs, type VmRow, vmKeys, vms } from './entities.ts';

export const vmKind = entityKind<VmRow>({
  noun: 'virtual machine',
  find: (tx, id) => tx.findOneBy(vms, { id: id as Id<'machine'> }),
  removed: ({ removedAt }) => removedAt !== null,
  owner: (row) => row,
});
export const sshKeyPairKind = entityKind<SshKeyPairRow>({
  noun: 'SSH key pair',
  find: (tx, id) => tx.findOneBy(sshKeyPairs, { id: id as Id<'sshKeyPair'> }),
  removed: ({ removedAt }) => removedAt !== null,
  owner: (row) => row,
});

/** What `details` of a list may name. Some name things that machines have none of yet, and show nothing. */
export const vmDetails = [
  'all',
  'group',
  'nics',
  'stats',
  'secgrp',
  'tmpl',
  'servoff',
  'diskoff',
  'backoff',
  'iso',
  'volume',
  'min',
  'affgrp',
] as const;
export type VmDetail = (typeof vmDetails)[number];
/** Shows a field only with the kind of detail that it belongs to. */
const of =
  <T>(kind: VmDetail, get: (row: VmShown) => T) =>
  (row: VmShown): T | null =>
    row.only === undefined || row.only.has('all') || row.only.has(kind) ? get(row) : null;

export interface VmShown {
  readonly id: string;
  readonly name: string;
  readonly displayName: string;
  readonly instanceName: string;
  readonly group: string | null;
  readonly accountName: string;
  readonly domainId: string;
  readonly domainName: string;
  readonly domainPath: string;
  readonly userId: string;
  readonly userName: string;
  readonly createdAt: Date;
  readonly state: string;
  readonly haEnabled: number | boolean;
  readonly displayVm: number | boolean;
  readonly deleteProtection: number | boolean;
  readonly zoneId: string;
  readonly zoneName: string;
  readonly hostId: string | null;
  readonly hostName: string | null;
  readonly hostAgentState: string | null;
  readonly hypervisor: string;
  readonly templateId: string | null;
  readonly templateName: string | null;
  readonly templateText: string | null;
  readonly templateType: string | null;
  readonly templateFormat: string | null;
  readonly templateKind: string | null;
  readonly passwordEnabled: number | boolean | null;
  readonly isoId: string | null;
  readonly isoName: string | null;
  readonly isoText: string | null;
  readonly offeringId: string;
  readonly offeringName: string;
  readonly diskOfferingId: string | null;
  readonly diskOfferingName: string | null;
  readonly rootDevice: number | null;
  readonly rootPoolType: string | null;
  readonly cpuCount: number;
  readonly cpuMhz: number;
  readonly memoryMib: number;
  readonly osTypeId: string | null;
  readonly osName: string | null;
  readonly details: string | null;
  readonly userData: string | null;
  readonly nics: readonly NicShown[];
  readonly keyPairs: readonly string[];
  /** Kinds of details to show; left out: all. */
  readonly only?: ReadonlySet<VmDetail>;
  /** Given once, in the result of the job that made it. */
  readonly password?: string;
}

export const vmView = view<VmShown>('UserVmResponse', 'virtualmachine', {
  id: f.string('the id of the virtual machine', (row) => row.id),
  name: f.string('its name, which is its host name', (row) => row.name),
  displayname: f.string('the name shown to people', (row) => row.displayName),
  account: f.string('the account it belongs to', (row) => row.accountName),
  userid: f.string('the user who made it', (row) => row.userId),
  username: f.string('the name of the user who made it', (row) => row.userName),
  domainid: f.string('the domain it belongs to', (row) => row.domainId),
  domain: f.string('the name of the domain', (row) => row.domainName),
  domainpath: f.string('the path of the domain', (row) => shownPath(row.domainPath)),
  created: f.date('when it was made', (row) => row.createdAt),
  state: f.string('its state', (row) => row.state),
  haenable: f.boolean('true if it is started elsewhere when its host is lost', (row) => Boolean(row.haEnabled)),
  displayvm: f.boolean('true if it is shown to its owner', (row) => Boolean(row.displayVm), { adminOnly: true }),
  deleteprotection: f.boolean('true if it cannot be destroyed', (row) => Boolean(row.deleteProtection)),
  group: f.string(
    'its group',
    of('group', (row) => row.group),
  ),
  zoneid: f.string('its zone', (row) => row.zoneId),
  zonename: f.string('the name of its zone', (row) => row.zoneName),
  hostid: f.string('the host it runs on', (row) => row.hostId, { adminOnly: true }),
  hostname: f.string('the name of that host', (row) => row.hostName, { adminOnly: true }),
  hostcontrolstate: f.string('the state of that host', (row) => row.hostAgentState, { adminOnly: true }),
  instancename: f.string('its name on the host', (row) => row.instanceName, { adminOnly: true }),
  hypervisor: f.string('its hypervisor', (row) => row.hypervisor),
  templateid: f.string(
    'the template it was made from',
    of('tmpl', (row) => (row.templateKind === 'iso' ? null : row.templateId)),
  ),
  templatename: f.string(
    'the name of the template',
    of('tmpl', (row) => row.templateName),
  ),
  templatedisplaytext: f.string(
    'the text of the template',
    of('tmpl', (row) => row.templateText),
  ),
  templatetype: f.string(
    'the type of the template',
    of('tmpl', (row) => row.templateType),
  ),
  templateformat: f.string(
    'the format of the template',
    of('tmpl', (row) => row.templateFormat),
  ),
  passwordenabled: f.boolean(
    'true if its password can be reset',
    of('tmpl', (row) => Boolean(row.passwordEnabled)),
  ),
  password: f.string('its password, right after it was made', (row) => row.password),
  isoid: f.string(
    'the ISO in its drive',
    of('iso', (row) => row.isoId),
  ),
  isoname: f.string(
    'the name of that ISO',
    of('iso', (row) => row.isoName),
  ),
  isodisplaytext: f.string(
    'the text of that ISO',
    of('iso', (row) => row.isoText),
  ),
  serviceofferingid: f.string(
    'its service offering',
    of('servoff', (row) => row.offeringId),
  ),
  serviceofferingname: f.string(
    'the name of its service offering',
    of('servoff', (row) => row.offeringName),
  ),
  diskofferingid: f.string(
    'the disk offering of its data disk',
    of('diskoff', (row) => row.diskOfferingId),
  ),
  diskofferingname: f.string(
    'the name of that disk offering',
    of('diskoff', (row) => row.diskOfferingName),
  ),
  cpunumber: f.integer(
    'number of CPUs',
    of('servoff', (row) => row.cpuCount),
  ),
  cpuspeed: f.integer(
    'speed of a CPU in MHz',
    of('servoff', (row) => row.cpuMhz),
  ),
  memory: f.integer(
    'memory in MiB',
    of('servoff', (row) => row.memoryMib),
  ),
  guestosid: f.string('its OS type', (row) => row.osTypeId),
  ostypeid: f.string('its OS type', (row) => row.osTypeId),
  osdisplayname: f.string('the name of its OS type', (row) => row.osName),
  rootdeviceid: f.long(
    'position of its root disk',
    of('volume', (row) => row.rootDevice),
  ),
  rootdevicetype: f.string(
    'what its root disk is',
    of('volume', (row) => (row.rootDevice === null ? null : 'ROOT')),
  ),
  pooltype: f.string(
    'type of the pool with its root disk',
    of('volume', (row) => row.rootPoolType),
  ),
  keypairs: f.string('names of its SSH key pairs', (row) => (row.keyPairs.length > 0 ? row.keyPairs.join(',') : null)),
  userdata: f.string('its user data, in Base64', (row) => row.userData),
  ipaddress: f.string(
    'its address in its default network',
    of('nics', (row) => (row.nics.find(({ isDefault }) => isDefault) ?? row.nics[0])?.address),
  ),
  isdynamicallyscalable: f.boolean('true if it can grow while it runs', () => false),
  vmtype: f.string('its type', () => 'User', { adminOnly: true }),
  details: f.map('its details', (row) => (row.details === null ? null : JSON.parse(row.details))),
  nic: f.set(
    'its NICs',
    of('nics', (row) => row.nics),
    nicFields,
  ),
});

/** Three statements, whatever the number. */
export async function loadVms(
  db: Pick<Database, 'rows' | 'read'>,
  ids: readonly string[],
  { withUserData = false, only }: { withUserData?: boolean; only?: ReadonlySet<VmDetail> } = {},
): Promise<VmShown[]> {
  if (ids.length === 0) return [];
  const rows = await db.rows<Omit<VmShown, 'nics' | 'keyPairs'>>(
    `SELECT v.id AS id, v.name AS name, v.display_name AS displayName, m.instance_name AS instanceName, v.group AS \`group\`, a.name AS accountName, d.id AS domainId, d.name AS domainName,
            d.path AS domainPath, v.user_id AS userId, u.name AS userName, v.created_at AS createdAt, m.state AS state, m.ha_enabled AS haEnabled, v.display_vm AS displayVm,
            v.delete_protection AS deleteProtection, m.zone_id AS zoneId, z.name AS zoneName, m.host_id AS hostId, h.name AS hostName, ha.state AS hostAgentState, m.hypervisor AS hypervisor,
            m.template_id AS templateId, t.name AS templateName, t.display_text AS templateText, t.type AS templateType, t.format AS templateFormat, t.kind AS templateKind,
            t.password_enabled AS passwordEnabled, m.iso_id AS isoId, i.name AS isoName, i.display_text AS isoText, m.service_offering_id AS offeringId, o.name AS offeringName,
            dd.disk_offering_id AS diskOfferingId, dk.name AS diskOfferingName, r.device AS rootDevice, rp.type AS rootPoolType, m.cpu_count AS cpuCount, m.cpu_mhz AS cpuMhz,
            m.memory_mib AS memoryMib, v.os_type_id AS osTypeId, os.name AS osName, v.details AS details, ${withUserData ? 'v.user_data' : 'NULL'} AS userData
       FROM vm v JOIN machine m ON m.id = v.id JOIN account a ON a.id = v.account_id JOIN domain d ON d.id = v.domain_id JOIN zone z ON z.id = m.zone_id
       JOIN service_offering o ON o.id = m.service_offering_id LEFT JOIN user u ON u.id = v.user_id LEFT JOIN host h ON h.id = m.host_id LEFT JOIN agent ha ON ha.id = m.host_id
       LEFT JOIN template t ON t.id = m.template_id LEFT JOIN template i ON i.id = m.iso_id LEFT JOIN os_type os ON os.id = v.os_type_id
       LEFT JOIN volume r ON r.machine_id = v.id AND r.type = 'ROOT' AND r.removed_at IS NULL LEFT JOIN storage_pool rp ON rp.id = r.pool_id
       LEFT JOIN volume dd ON dd.machine_id = v.id AND dd.device = 1 AND dd.removed_at IS NULL LEFT JOIN disk_offering dk ON dk.id = dd.disk_offering_id
      WHERE v.id IN (?)`,
    [ids],
  );
  const plugged = await nicsOf(db, ids);
  const keys = await db.read.find(vmKeys, { where: { machineId: In([...ids]) }, order: { name: 'ASC' } });
  return rows.map((row) => ({
    ...row,
    ...(only ? { only } : {}),
    nics: plugged.filter(({ machineId }) => machineId === row.id),
    keyPairs: keys.filter(({ machineId }) => machineId === row.id).map(({ name }) => name),
  }));
}
