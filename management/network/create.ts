/** Rows of a new guest network. */
import { IsNull } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import { newId } from '../../protocol/ids.ts';
import type { Id } from '../../protocol/schema.ts';
import type { Tx } from '../core/db.ts';
import type { Services } from '../core/services.ts';
import { guestDomainSuffix, type PhysicalNetworkRow, physicalNetworks, type ZoneRow } from '../infra/index.ts';
import type { NetworkOfferingRow } from '../offering/index.ts';
import { type NetworkRow, networks } from './entities.ts';
import { ensureSourceNat } from './public-ips.ts';
import { addressBlock, mustBeApart } from './rules.ts';
import { guestMtu } from './settings.ts';

export interface NewNetwork {
  readonly accountId: Id<'account'>;
  readonly domainId: Id<'domain'>;
  readonly zone: ZoneRow;
  readonly offering: NetworkOfferingRow;
  /** The first enabled one of the zone when left out. */
  readonly physicalNetwork?: PhysicalNetworkRow | undefined;
  readonly name: string;
  readonly displayText?: string | undefined;
  readonly gateway?: string | undefined;
  readonly netmask?: string | undefined;
  readonly networkDomain?: string | undefined;
  readonly dns1?: string | undefined;
  readonly dns2?: string | undefined;
  readonly mtu?: number | undefined;
}

export async function createGuestNetwork(tx: Tx, { settings }: Pick<Services, 'settings'>, wanted: NewNetwork): Promise<NetworkRow> {
  const { zone, offering, name } = wanted;
  const physical =
    wanted.physicalNetwork ??
    (await tx.findOne(physicalNetworks, { where: { zoneId: zone.id, state: 'Enabled', removedAt: IsNull() }, order: { id: 'ASC' } }));
  if (!physical || physical.zoneId !== zone.id)
    throw new CloudError('InvalidParameter', `the zone ${zone.name} has no enabled physical network for guests`);
  const block = addressBlock(wanted, zone.guestCidr);
  await mustBeApart(tx, block.cidr, zone);
  const row: NetworkRow = {
    id: newId('network'),
    accountId: wanted.accountId,
    domainId: wanted.domainId,
    zoneId: zone.id,
    physicalNetworkId: physical.id,
    networkOfferingId: offering.id,
    name,
    displayText: wanted.displayText ?? name,
    guestType: 'Isolated',
    state: 'Allocated',
    generation: 0,
    ...block,
    networkDomain: wanted.networkDomain ?? zone.networkDomain ?? settings.get(guestDomainSuffix, { zone: zone.id }),
    vni: null,
    mtu: wanted.mtu ?? settings.get(guestMtu, { zone: zone.id }),
    dns1: wanted.dns1 ?? null,
    dns2: wanted.dns2 ?? null,
    restartRequired: false,
    configurationGeneration: 1,
    appliedGeneration: 0,
    idleSince: null,
    createdAt: new Date(),
    removedAt: null,
  };
  await tx.insert(networks, row);
  // The address is the network's from the first day, so that it is the same after every return.
  if (offering.services.SourceNat) await ensureSourceNat(tx, row);
  return row;
}
