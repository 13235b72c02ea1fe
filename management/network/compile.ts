/** A network's router as one document, compiled from rows by one pure function per service. */
import { In, IsNull } from 'typeorm';
import { prefixOfNetmask } from '../../protocol/ip4.ts';
import type { RouterConfiguration } from '../../protocol/messages/router.ts';
import type { Id } from '../../protocol/schema.ts';
import type { Services } from '../core/services.ts';
import { zones } from '../infra/index.ts';
import { networkOfferings } from '../offering/index.ts';
import { guestMetadata, networks, nics } from './entities.ts';
import { compileDhcp } from './services/dhcp/compile.ts';
import { compileDns } from './services/dns/compile.ts';
import { compileFirewall } from './services/firewall/compile.ts';
import type { RouterRows } from './services/rows.ts';
import { compileSourceNat } from './services/source-nat/compile.ts';
import { compileUserData } from './services/user-data/compile.ts';

/** The whole configuration of the network's router, with the generation that was current before the rows were read. */
export async function compileRouter(
  services: Pick<Services, 'db' | 'secrets'>,
  networkId: Id<'network'>,
  routerId: Id<'machine'>,
): Promise<RouterConfiguration> {
  const { db, secrets } = services;
  const network = await db.read.findOneByOrFail(networks, { id: networkId });
  const offering = await db.read.findOneByOrFail(networkOfferings, { id: network.networkOfferingId });
  const zone = await db.read.findOneByOrFail(zones, { id: network.zoneId });
  const plugged = await db.read.find(nics, { where: { networkId, removedAt: IsNull() }, order: { id: 'ASC' } });
  const own = await db.read.find(nics, { where: { machineId: routerId, removedAt: IsNull() }, order: { device: 'ASC' } });
  const guests = plugged.filter(
    ({ machineId, address }) => machineId !== routerId && address !== null && !own.some((nic) => nic.machineId === machineId),
  );
  const known = guests.length === 0 ? [] : await db.read.findBy(guestMetadata, { machineId: In(guests.map(({ machineId }) => machineId)) });
  const metadata = new Map(known.map((row) => [row.machineId, row]));
  const rows: RouterRows = {
    network,
    zone,
    egressDefault: offering.egressDefault,
    publicAddress: own.find(({ role }) => role === 'public')?.address ?? null,
    // A machine that no owner has described is no guest: the router of an earlier start, for example.
    guests: guests.flatMap((nic) => {
      const about = metadata.get(nic.machineId);
      return about && nic.address
        ? [
            {
              mac: nic.mac,
              address: nic.address,
              isDefault: nic.isDefault,
              about,
              password: about.password ? secrets.open(about.password) : null,
            },
          ]
        : [];
    }),
  };
  const guest = own.find(({ role }) => role === 'guest');
  const outside = own.find(({ role }) => role === 'public');
  const has = offering.services;
  return {
    generation: network.configurationGeneration,
    guest: { device: `eth${guest?.device ?? 0}`, address: network.gateway, prefix: prefixOfNetmask(network.netmask), mtu: network.mtu },
    public:
      outside?.address && outside.netmask && outside.gateway
        ? { device: `eth${outside.device}`, address: outside.address, prefix: prefixOfNetmask(outside.netmask), gateway: outside.gateway }
        : null,
    dhcp: has.Dhcp ? compileDhcp(rows) : null,
    dns: has.Dns ? compileDns(rows) : null,
    sourceNat: has.SourceNat ? compileSourceNat(rows) : null,
    userData: has.UserData ? compileUserData(rows) : null,
    firewall: compileFirewall(rows),
  };
}
