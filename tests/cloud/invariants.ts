/** What must be true of any cloud at rest: the record agrees with itself, and the simulated hosts agree with the record. */
import assert from 'node:assert/strict';
import { compileHostNetworks } from '../../management/network/index.ts';
import { holdsCapacity } from '../../protocol/states/machine.ts';
import type { Observed } from './cloud.ts';

interface Rule {
  readonly what: string;
  /** Every row is a violation. */
  readonly sql: string;
}

const words = (...values: readonly string[]) => values.map((value) => `'${value}'`).join(', ');
const HOLDING = words(...holdsCapacity);

const rules: readonly Rule[] = [
  {
    what: 'a host has another capacity reserved than the sum of its reservations',
    sql: `SELECT h.name, h.cpu_mhz_reserved AS cpu, h.memory_mib_reserved AS memory, COALESCE(SUM(r.cpu_mhz), 0) AS cpuSum, COALESCE(SUM(r.memory_mib), 0) AS memorySum
            FROM host h LEFT JOIN reservation r ON r.host_id = h.id GROUP BY h.id
           HAVING cpu <> cpuSum OR memory <> memorySum`,
  },
  {
    what: 'a reservation that is not of a machine that holds capacity of that host',
    sql: `SELECT r.* FROM reservation r LEFT JOIN machine m ON m.id = r.machine_id AND m.host_id = r.host_id AND m.removed_at IS NULL
            AND m.state IN (${HOLDING}) AND r.memory_mib = m.memory_mib AND r.cpu_mhz = m.cpu_count * m.cpu_mhz WHERE m.id IS NULL`,
  },
  {
    what: 'a machine that holds capacity without a reservation',
    sql: `SELECT m.instance_name, m.state FROM machine m LEFT JOIN reservation r ON r.machine_id = m.id
           WHERE m.removed_at IS NULL AND m.state IN (${HOLDING}) AND r.machine_id IS NULL`,
  },
  {
    what: 'a machine that does not run and still has a host, a console or power',
    sql: `SELECT instance_name, state, host_id, power FROM machine
           WHERE (removed_at IS NOT NULL OR state NOT IN (${HOLDING})) AND (host_id IS NOT NULL OR vnc_password IS NOT NULL OR power = 'On' AND removed_at IS NULL)`,
  },
  {
    what: 'a storage pool with another room allocated than its volumes and image copies take',
    sql: `SELECT p.name, p.allocated_bytes AS allocated,
                 (SELECT COALESCE(SUM(v.size_bytes), 0) FROM volume v WHERE v.pool_id = p.id AND v.removed_at IS NULL) AS volumes,
                 (SELECT COALESCE(SUM(c.size_bytes), 0) FROM image_copy c WHERE c.pool_id = p.id) AS images
            FROM storage_pool p WHERE p.removed_at IS NULL HAVING allocated <> volumes + images`,
  },
  {
    what: 'a machine in a transitional state',
    sql: `SELECT instance_name, state FROM machine WHERE removed_at IS NULL AND state IN ('Starting', 'Stopping', 'Migrating', 'Expunging')`,
  },
  {
    what: 'a network in a transitional state',
    sql: `SELECT name, state FROM network WHERE removed_at IS NULL AND state IN ('Implementing', 'Shutdown', 'Destroy')`,
  },
  {
    what: 'a volume in a transitional state, or on a pool without being there',
    sql: `SELECT name, state, pool_id FROM volume WHERE removed_at IS NULL AND (state NOT IN ('Allocated', 'Ready') OR (state = 'Allocated') <> (pool_id IS NULL))`,
  },
  {
    what: 'a volume of a removed machine',
    sql: 'SELECT v.name FROM volume v JOIN machine m ON m.id = v.machine_id WHERE v.removed_at IS NULL AND m.removed_at IS NOT NULL',
  },
  { what: 'an image copy in a transitional state', sql: `SELECT id, state FROM image_copy WHERE state <> 'Ready'` },
  {
    what: 'a public address in a transitional state',
    sql: `SELECT address, state FROM public_ip WHERE state NOT IN ('Free', 'Allocated')`,
  },
  {
    what: 'a public address that is taken by nothing, or free and somebody has it',
    sql: `SELECT i.address, i.state FROM public_ip i LEFT JOIN nic c ON c.id = i.nic_id AND c.removed_at IS NULL AND c.address = i.address
            LEFT JOIN network n ON n.id = i.network_id AND n.removed_at IS NULL WHERE (i.state = 'Free') = (c.id IS NOT NULL OR n.id IS NOT NULL)
            OR (i.nic_id IS NOT NULL AND c.id IS NULL) OR (i.network_id IS NOT NULL AND n.id IS NULL)`,
  },
  {
    what: 'a private address taken by no NIC',
    sql: `SELECT a.address, a.kind FROM private_address a LEFT JOIN nic c ON c.id = a.nic_id AND c.removed_at IS NULL AND c.address = a.address AND c.role = a.kind
           WHERE (a.nic_id IS NOT NULL OR a.kind = 'control') AND c.id IS NULL`,
  },
  {
    what: 'a system NIC whose address is not taken for it',
    sql: `SELECT c.role, c.address FROM nic c LEFT JOIN private_address a ON a.nic_id = c.id AND a.address = c.address AND a.kind = c.role
           WHERE c.removed_at IS NULL AND c.role IN ('control', 'management', 'storage') AND a.id IS NULL`,
  },
  {
    what: 'a guest address of no NIC',
    sql: `SELECT a.address FROM guest_address a LEFT JOIN nic c ON c.id = a.nic_id AND c.removed_at IS NULL AND c.address = a.address AND c.network_id = a.network_id WHERE c.id IS NULL`,
  },
  {
    what: 'a NIC of a guest without its address',
    sql: `SELECT c.id, c.address FROM nic c JOIN machine m ON m.id = c.machine_id LEFT JOIN guest_address a ON a.nic_id = c.id AND a.address = c.address
           WHERE c.removed_at IS NULL AND c.role = 'guest' AND m.kind = 'guest' AND a.id IS NULL`,
  },
  {
    what: 'a NIC of a removed machine',
    sql: 'SELECT c.id, c.role FROM nic c JOIN machine m ON m.id = c.machine_id WHERE c.removed_at IS NULL AND m.removed_at IS NOT NULL',
  },
  {
    what: 'an address twice in one network',
    sql: 'SELECT network_id, role, zone_id, address FROM nic WHERE removed_at IS NULL GROUP BY network_id, role, zone_id, address HAVING COUNT(*) > 1',
  },
  {
    what: 'a MAC twice in one zone',
    sql: 'SELECT zone_id, mac FROM nic WHERE removed_at IS NULL GROUP BY zone_id, mac HAVING COUNT(*) > 1',
  },
  {
    what: 'a VXLAN number that should not be, or is missing',
    sql: `SELECT name, state, vni FROM network WHERE (removed_at IS NULL AND state = 'Implemented') <> (vni IS NOT NULL)`,
  },
  {
    what: 'an implemented network with another number of routers than one, or a router without its network',
    sql: `SELECT n.name, n.state, n.removed_at AS removed_at, COUNT(s.id) AS routers FROM network n LEFT JOIN system_vm s ON s.network_id = n.id AND s.removed_at IS NULL
           GROUP BY n.id HAVING routers <> (removed_at IS NULL AND state = 'Implemented')`,
  },
  {
    what: 'a router that has not the newest configuration',
    sql: `SELECT n.name, n.configuration_generation AS wanted, n.applied_generation AS applied FROM network n JOIN system_vm s ON s.network_id = n.id AND s.removed_at IS NULL
            JOIN machine m ON m.id = s.id WHERE m.state = 'Running' AND n.applied_generation < n.configuration_generation`,
  },
  {
    what: 'a system VM whose rows do not agree on whether it is',
    sql: `SELECT m.instance_name, m.state, a.state AS agent FROM machine m LEFT JOIN system_vm s ON s.id = m.id LEFT JOIN agent a ON a.id = m.id WHERE m.kind <> 'guest'
            AND NOT (s.id IS NOT NULL AND a.id IS NOT NULL AND (m.removed_at IS NULL) = (s.removed_at IS NULL) AND (m.removed_at IS NULL) = (a.state <> 'Removed'))`,
  },
  {
    what: 'a system VM that runs while its agent is not up',
    sql: `SELECT m.instance_name, a.state FROM machine m JOIN agent a ON a.id = m.id JOIN agent h ON h.id = m.host_id
           WHERE m.removed_at IS NULL AND m.state = 'Running' AND h.state = 'Up' AND a.state <> 'Up'`,
  },
  {
    what: 'a guest whose rows do not agree on whether it is',
    sql: `SELECT m.instance_name, m.state FROM machine m LEFT JOIN vm v ON v.id = m.id WHERE m.kind = 'guest' AND (v.id IS NULL OR (m.removed_at IS NULL) <> (v.removed_at IS NULL))`,
  },
  {
    what: 'metadata of a guest that is gone',
    sql: 'SELECT g.machine_id FROM guest_metadata g LEFT JOIN vm v ON v.id = g.machine_id AND v.removed_at IS NULL WHERE v.id IS NULL',
  },
  {
    what: 'a host being added or in between',
    sql: `SELECT name, resource_state FROM host WHERE removed_at IS NULL AND resource_state IN ('Creating', 'PrepareForMaintenance')`,
  },
  { what: 'a job that has not ended', sql: `SELECT saga, state, step, attempts FROM job WHERE state NOT IN ('Done', 'Failed')` },
  { what: 'an undo that is owed', sql: 'SELECT message, agent_id FROM owed_ask' },
];

/** What is wrong now, in words; nothing when all is well. */
export async function violations(cloud: Observed): Promise<string[]> {
  const { db } = cloud;
  const found: string[] = [];
  for (const { what, sql } of rules) for (const row of await db.rows(sql)) found.push(`${what}: ${JSON.stringify(row)}`);
  return [...found, ...(await differences(cloud))];
}

/** Where the simulated hosts, their pools and the routers differ from the record. */
async function differences({ db, hosts, storage, systemVms, isCut }: Observed): Promise<string[]> {
  const found: string[] = [];
  const compare = (what: string, is: readonly string[], should: readonly string[]) => {
    const [left, right] = [[...is].sort(), [...should].sort()];
    for (const extra of left.filter((each) => !right.includes(each))) found.push(`${what} has ${extra} too much`);
    for (const missing of right.filter((each) => !left.includes(each))) found.push(`${what} lacks ${missing}`);
  };

  const running = await db.rows<{ name: string; hostId: string }>(
    `SELECT instance_name AS name, host_id AS hostId FROM machine WHERE removed_at IS NULL AND state = 'Running'`,
  );
  const seats = await db.rows<Parameters<typeof compileHostNetworks>[1][number]>(
    `SELECT n.vni AS vni, n.mtu AS mtu, m.host_id AS host_id, h.address AS address, c.mac AS mac FROM nic c JOIN machine m ON m.id = c.machine_id
       JOIN network n ON n.id = c.network_id JOIN host h ON h.id = m.host_id
      WHERE c.role = 'guest' AND c.removed_at IS NULL AND n.vni IS NOT NULL AND m.state = 'Running' AND m.removed_at IS NULL`,
  );
  for (const [id, host] of hosts) {
    const there = await host.machines.list();
    compare(
      `the host ${id}`,
      there.map(({ name }) => name),
      running.filter(({ hostId }) => hostId === id).map(({ name }) => name),
    );
    if (isCut(id)) continue;
    const carried = (networks: ReturnType<typeof compileHostNetworks>) => networks.map((each) => JSON.stringify(each));
    compare(`the host ${id} among its networks`, carried(host.networks()?.networks ?? []), carried(compileHostNetworks(host.id, seats)));
  }

  const volumes = await db.rows<{ id: string; poolId: string }>(
    `SELECT id, pool_id AS poolId FROM volume WHERE state = 'Ready' AND removed_at IS NULL`,
  );
  const images = await db.rows<{ id: string; poolId: string }>(`SELECT template_id AS id, pool_id AS poolId FROM image_copy`);
  for (const pools of storage.values()) {
    for (const [poolId, files] of pools) {
      const on = (rows: typeof volumes) => rows.filter((row) => row.poolId === poolId).map(({ id }) => id);
      compare(`the pool ${poolId} among its volumes`, [...files.volumes.keys()], on(volumes));
      compare(`the pool ${poolId} among its images`, [...files.images.keys()], on(images));
    }
  }

  const wanted = await db.rows<{ id: string; generation: number }>(
    `SELECT s.id AS id, n.configuration_generation AS generation FROM system_vm s JOIN machine m ON m.id = s.id LEFT JOIN network n ON n.id = s.network_id
      WHERE s.removed_at IS NULL AND m.state = 'Running'`,
  );
  compare(
    'the cloud among its system VMs',
    [...systemVms.keys()],
    wanted.map(({ id }) => id),
  );
  for (const { id, generation } of wanted) {
    const vm = systemVms.get(id);
    if (vm?.kind === 'router' && vm.configuration()?.generation !== generation)
      found.push(`the router ${id} runs generation ${vm.configuration()?.generation} of its configuration and ${generation} is wanted`);
  }
  return found;
}

/** Waits a while for the cloud to come to rest, and fails with everything that is wrong then. */
export async function holds(cloud: Observed, { timeoutSeconds = 20 } = {}): Promise<void> {
  let wrong: string[] = [];
  for (const until = Date.now() + timeoutSeconds * 1000; ; ) {
    wrong = await violations(cloud);
    if (wrong.length === 0) return;
    if (Date.now() > until) break;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  assert.fail(`the cloud does not come to rest:\n${wrong.slice(0, 20).join('\n')}`);
}
