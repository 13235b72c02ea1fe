import { type Area, asTables } from '../core/area.ts';
import { asCommands } from '../core/command.ts';
import { createNetwork } from './commands/create-network.ts';
import { listIpForwardingRules, listPortForwardingRules } from './commands/list-forwarding-rules.ts';
import { listNetworks } from './commands/list-networks.ts';
import { listNics } from './commands/list-nics.ts';
import { listPublicIpAddresses } from './commands/list-public-ip-addresses.ts';
import { createVlanIpRange, deleteVlanIpRange, listVlanIpRanges, updateVlanIpRange } from './commands/vlan-ip-ranges.ts';
import { networkTables } from './entities.ts';
import { hostNetworksReconciler } from './host-networks.ts';
import { networkSettings } from './settings.ts';

export { compileRouter } from './compile.ts';
export { createGuestNetwork } from './create.ts';
export { guestMetadata, type NetworkRow, type NicRow, networks, nics, publicIps } from './entities.ts';
export { compileHostNetworks, hostNetworks } from './host-networks.ts';
export { allocateGatewayNic, allocateGuestNic, allocateSystemNic, releaseNics, touchNetwork } from './nics.ts';
export { ensureSourceNat, freePublicIpsOfNetwork } from './public-ips.ts';
export { mustBeUnused, networksOf, takeVni } from './rules.ts';
export { loadNetworks, type NicShown, networkKind, networkView, nicFields, nicsOf } from './views.ts';

export const networkArea: Area = {
  name: 'network',
  tables: asTables(...networkTables),
  commands: asCommands(
    createNetwork,
    listNetworks,
    listNics,
    listPublicIpAddresses,
    listPortForwardingRules,
    listIpForwardingRules,
    createVlanIpRange,
    listVlanIpRanges,
    updateVlanIpRange,
    deleteVlanIpRange,
  ),
  sagas: [],
  reconcilers: [hostNetworksReconciler],
  settings: networkSettings,
};
