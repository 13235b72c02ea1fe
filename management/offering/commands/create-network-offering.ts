import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { networkOfferings } from '../entities.ts';
import { newNetworkOffering } from '../new-rows.ts';
import { chooseServices } from '../services.ts';
import { loadNetworkOfferings, networkOfferingView } from '../views.ts';
import { checkName } from '../visibility.ts';

export const createNetworkOffering = command({
  name: 'createNetworkOffering',
  about: 'Creates a network offering: which services networks have.',
  access: 'admin',
  event: { type: 'NETWORK.OFFERING.CREATE', text: 'creating network offering', resource: 'NetworkOffering' },
  params: {
    name: required(p.string('the name of the network offering')),
    displaytext: p.string('the display text of the network offering; its name unless given'),
    guestiptype: required(p.word('the type of its networks', ['Isolated', 'Shared', 'L2'])),
    traffictype: required(p.word('the traffic its networks carry', ['Guest'])),
    supportedservices: p.texts('the services of its networks'),
    serviceproviderlist: p.maps('who provides each service', ['service', 'provider']),
    egressdefaultpolicy: p.boolean('whether guests may reach the outside by default; false unless given'),
    availability: p.word('Optional unless given', ['Required', 'Optional', 'Unavailable']),
    enable: p.boolean('whether it can be used at once'),
  },
  reply: reply.one(networkOfferingView),
  run: async ({ db }, params) => {
    checkName(params.name, 'network offering');
    if (params.guestiptype !== 'Isolated')
      throw new CloudError('InvalidParameter', `networks of type ${params.guestiptype} are not available; available is Isolated`);
    const services = chooseServices(params.supportedservices ?? [], params.serviceproviderlist ?? []);
    if (services.Firewall && !services.SourceNat)
      throw new CloudError('InvalidParameter', 'the service Firewall needs the service SourceNat');
    if (params.egressdefaultpolicy && !services.SourceNat)
      throw new CloudError('InvalidParameter', 'egressdefaultpolicy needs the service SourceNat: without it nothing reaches the outside');
    const row = newNetworkOffering({
      name: params.name,
      displayText: params.displaytext ?? params.name,
      services,
      egressDefault: params.egressdefaultpolicy ? 'allow' : 'deny',
      availability: params.availability ?? 'Optional',
      state: params.enable ? 'Enabled' : 'Disabled',
    });
    await db.transact((tx) => tx.insert(networkOfferings, row));
    const [shown] = await loadNetworkOfferings(db, [row.id]);
    if (!shown) throw new CloudError('Internal', 'the network offering was not written', { id: row.id });
    return shown;
  },
});
