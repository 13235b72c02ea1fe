/** Which guest networks each host carries, and who else does: the forwarding tables of VXLAN, kept by management. */
import { In } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import { call } from '../../protocol/message.ts';
import { ApplyHostNetworks, type HostNetworks } from '../../protocol/messages/host.ts';
import type { Id } from '../../protocol/schema.ts';
import { reconciler } from '../core/reconcile.ts';
import { sha256Hex } from '../core/secrets.ts';
import type { Services } from '../core/services.ts';
import { hosts } from '../infra/index.ts';

const TOGETHER_MAX = 100;

interface Seat {
  vni: number;
  mtu: number;
  host_id: Id<'host'>;
  address: string;
  mac: string;
}

/** Every guest NIC of a machine that is on a host. */
const SEATS = `SELECT n.vni AS vni, n.mtu AS mtu, m.host_id AS host_id, h.address AS address, c.mac AS mac
  FROM nic c JOIN machine m ON m.id = c.machine_id JOIN network n ON n.id = c.network_id JOIN host h ON h.id = m.host_id
 WHERE c.role = 'guest' AND c.removed_at IS NULL AND n.vni IS NOT NULL AND m.state IN ('Starting', 'Running', 'Stopping', 'Migrating')`;

/** The document of one host from the seats of the networks it has a part in. */
export function compileHostNetworks(hostId: Id<'host'>, seats: readonly Seat[]): HostNetworks['networks'] {
  const carried = new Map(seats.filter(({ host_id }) => host_id === hostId).map(({ vni, mtu }) => [vni, mtu]));
  return [...carried]
    .sort(([a], [b]) => a - b)
    .map(([vni, mtu]) => {
      const peers = new Map<string, string[]>();
      for (const seat of seats) {
        if (seat.vni !== vni || seat.host_id === hostId) continue;
        peers.set(seat.address, [...(peers.get(seat.address) ?? []), seat.mac]);
      }
      return {
        vni,
        mtu,
        peers: [...peers].sort(([a], [b]) => (a < b ? -1 : 1)).map(([address, macs]) => ({ address, macs: macs.sort() })),
      };
    });
}

/**
 * The whole of what the host should carry now. The generation is taken before the rows are read, so of two documents the one with the
 * higher number never knows less.
 */
export async function hostNetworks(services: Pick<Services, 'db'>, hostId: Id<'host'>): Promise<HostNetworks> {
  const document = (await hostNetworksOf(services, [hostId])).get(hostId);
  if (!document) throw new CloudError('NotFound', 'there is no such host', { hostId });
  return document;
}

async function hostNetworksOf({ db }: Pick<Services, 'db'>, hostIds: readonly Id<'host'>[]): Promise<Map<Id<'host'>, HostNetworks>> {
  const numbered = await db.transact(async (tx) => {
    await tx.query('UPDATE host SET networks_generation = networks_generation + 1 WHERE id IN (?) ORDER BY id', [hostIds]);
    return tx.findBy(hosts, { id: In([...hostIds]) });
  });
  const seats = await db.rows<Seat>(
    `${SEATS} AND n.vni IN (SELECT n2.vni FROM nic c2 JOIN machine m2 ON m2.id = c2.machine_id JOIN network n2 ON n2.id = c2.network_id
      WHERE m2.host_id IN (?) AND c2.removed_at IS NULL AND c2.role = 'guest' AND n2.vni IS NOT NULL)`,
    [hostIds],
  );
  return new Map(
    numbered.map(({ id, networksGeneration, address }) => [
      id,
      { generation: networksGeneration, tunnelAddress: address, networks: compileHostNetworks(id, seats) },
    ]),
  );
}

/** What this reconciler told each host last. Whoever starts a machine tells hosts too, which the generation shows. */
const sent = new Map<string, { print: string; generation: number }>();

const print = (networks: HostNetworks['networks'], since: Date) => sha256Hex(JSON.stringify([networks, since]));

/** Sends each host its document when that differs from what it was sent last; everything again after a new link. */
export const hostNetworksReconciler = reconciler({
  name: 'network.hosts',
  everySeconds: 15,
  wakeOn: ['hostNetworks', 'agent'],
  run: async (services) => {
    const { db, agents, log } = services;
    const up = await db.rows<{ id: Id<'host'>; generation: number; since: Date }>(
      `SELECT h.id AS id, h.networks_generation AS generation, a.state_since AS since FROM host h JOIN agent a ON a.id = h.id WHERE a.state = 'Up' AND h.removed_at IS NULL`,
    );
    const seats = await db.rows<Seat>(SEATS);
    const untold = up.filter(({ id, generation, since }) => {
      const last = sent.get(id);
      return last?.generation !== generation || last.print !== print(compileHostNetworks(id, seats), since);
    });
    const tell = async (id: Id<'host'>, since: Date, document: HostNetworks): Promise<void> => {
      try {
        await agents.ask({ kind: 'host', id }, call(ApplyHostNetworks, document), { requestId: 'network.hosts', linkGraceSeconds: 0 });
        sent.set(id, { print: print(document.networks, since), generation: document.generation });
      } catch (error) {
        log.warn({ err: error, host: id }, 'host did not take its networks; it is told again');
      }
    };
    // After a restart that is every host there is. One that does not answer keeps no other from hearing.
    const telling: Promise<void>[] = [];
    for (let i = 0; i < untold.length; i += TOGETHER_MAX) {
      const some = untold.slice(i, i + TOGETHER_MAX);
      const documents = await hostNetworksOf(
        services,
        some.map(({ id }) => id),
      );
      for (const { id, since } of some) {
        const document = documents.get(id);
        if (document) telling.push(tell(id, since, document));
      }
    }
    await Promise.all(telling);
    for (const id of sent.keys()) if (!up.some((host) => host.id === id)) sent.delete(id);
  },
});
