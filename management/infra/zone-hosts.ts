import { IsNull } from 'typeorm';
import type { Id } from '../../protocol/schema.ts';
import type { Tx } from '../core/db.ts';
import { type HostRow, hosts } from './entities.ts';

/** Hosts of a zone that are there, whatever the state of their links. */
export const hostsOfZone = (tx: Tx, zoneId: Id<'zone'>): Promise<HostRow[]> => tx.findBy(hosts, { zoneId, removedAt: IsNull() });
