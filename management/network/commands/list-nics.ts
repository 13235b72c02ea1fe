import type { Id } from '../../../protocol/schema.ts';
import { command, reply } from '../../core/command.ts';
import { list, pageParams, where } from '../../core/list.ts';
import { entityKind, p, required } from '../../core/params.ts';
import { networkKind, nicsOf, nicView } from '../views.ts';

/** A guest, as far as its NICs are concerned: whose it is. */
const guestKind = entityKind<{ id: Id<'machine'>; accountId: string; domainId: string; kind: string; removedAt: Date | null }>({
  noun: 'virtual machine',
  find: async (tx, id) =>
    (
      await tx.query('SELECT id, account_id AS accountId, domain_id AS domainId, kind, removed_at AS removedAt FROM machine WHERE id = ?', [
        id,
      ])
    )[0] ?? null,
  removed: ({ removedAt }) => removedAt !== null,
  owner: (row) => row,
});
const nicKind = entityKind<{ id: Id<'nic'>; accountId: string; domainId: string; removedAt: Date | null }>({
  noun: 'NIC',
  find: async (tx, id) =>
    (
      await tx.query(
        `SELECT c.id AS id, m.account_id AS accountId, m.domain_id AS domainId, c.removed_at AS removedAt
           FROM nic c JOIN machine m ON m.id = c.machine_id WHERE c.id = ?`,
        [id],
      )
    )[0] ?? null,
  removed: ({ removedAt }) => removedAt !== null,
  owner: (row) => row,
});

export const listNics = command({
  name: 'listNics',
  about: 'Lists the NICs of a virtual machine.',
  access: 'user',
  params: {
    ...pageParams,
    virtualmachineid: required(p.entity('the virtual machine', guestKind, 'use')),
    networkid: p.entity('the NIC in this network', networkKind, 'list'),
    nicid: p.entity('the NIC of this id', nicKind, 'list'),
  },
  reply: reply.list(nicView),
  run: (context, params) =>
    list(context, params, {
      from: 'nic t',
      where: [
        where.sql('t.removed_at IS NULL'),
        where.equal('t.machine_id', params.virtualmachineid.id),
        where.equal('t.network_id', params.networkid?.id),
        where.equal('t.id', params.nicid?.id),
      ],
      keyword: ['t.address', 't.mac'],
      order: 't.device',
      load: async (ids) => (await nicsOf(context.db, [params.virtualmachineid.id])).filter(({ id }) => ids.includes(id)),
    }),
});
