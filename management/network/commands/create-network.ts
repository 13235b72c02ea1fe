import { CloudError } from '../../../protocol/errors.ts';
import { s } from '../../../protocol/schema.ts';
import { ownerOf } from '../../account/index.ts';
import { command, reply } from '../../core/command.ts';
import { domainKind } from '../../core/list.ts';
import { p, required } from '../../core/params.ts';
import { physicalNetworkKind, zoneKind } from '../../infra/index.ts';
import { networkOfferingKind } from '../../offering/index.ts';
import { createGuestNetwork } from '../create.ts';
import { loadNetworks, networkView } from '../views.ts';

export const createNetwork = command({
  name: 'createNetwork',
  about: 'Creates an isolated guest network; it becomes real when the first virtual machine in it starts.',
  access: 'user',
  event: { type: 'NETWORK.CREATE', text: 'creating network', resource: 'Network' },
  params: {
    name: required(p.string('the name of the network')),
    displaytext: p.string('the display text of the network'),
    networkofferingid: required(p.entity('the network offering', networkOfferingKind, 'use')),
    zoneid: required(p.entity('the zone', zoneKind, 'use')),
    physicalnetworkid: p.entity('the physical network', physicalNetworkKind, 'use'),
    gateway: p.ip4('the gateway of the network; goes together with netmask'),
    netmask: p.ip4('the netmask of the network'),
    networkdomain: p.string('the DNS domain of the network'),
    dns1: p.ip4('the first DNS server that names from outside are asked of'),
    dns2: p.ip4('the second DNS server'),
    privatemtu: p.integer('MTU inside the network', { min: 576, max: 9000 }),
    account: p.string('the account that will own the network; goes together with domainid'),
    domainid: p.entity('the domain of that account', domainKind, 'use'),
  },
  reply: reply.one(networkView),
  run: async (context, params) => {
    const { db } = context;
    const { name, zoneid: zone, networkofferingid: offering } = params;
    if (name.trim() === '') throw new CloudError('InvalidParameter', 'the name of the network is empty');
    if (offering.state !== 'Enabled') throw new CloudError('InvalidParameter', `the network offering ${offering.name} is not enabled`);
    if (offering.guestType !== 'Isolated')
      throw new CloudError(
        'InvalidParameter',
        `networks of type ${offering.guestType} cannot be created yet; use an offering of type Isolated`,
      );
    if (zone.allocationState === 'Disabled' && context.caller.accountType !== 'admin')
      throw new CloudError('Forbidden', `the zone ${zone.name} is not enabled`);
    if (params.dns2 !== undefined && params.dns1 === undefined) throw new CloudError('InvalidParameter', 'dns2 goes together with dns1');
    const domain = params.networkdomain;
    if (domain !== undefined && !s.hostName().safeParse(domain).success)
      throw new CloudError('InvalidParameter', `the network domain '${domain}' is not a DNS name`);
    const owner = await ownerOf(context, params);
    const { id } = await db.transact((tx) =>
      createGuestNetwork(tx, context, {
        ...owner,
        zone,
        offering,
        physicalNetwork: params.physicalnetworkid,
        name,
        displayText: params.displaytext,
        gateway: params.gateway,
        netmask: params.netmask,
        networkDomain: domain,
        dns1: params.dns1,
        dns2: params.dns2,
        mtu: params.privatemtu,
      }),
    );
    const [shown] = await loadNetworks(db, [id]);
    if (!shown) throw new CloudError('Internal', 'the network was not written');
    return shown;
  },
});
