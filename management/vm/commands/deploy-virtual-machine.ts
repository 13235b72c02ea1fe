import { CloudError } from '../../../protocol/errors.ts';
import { ownerOf } from '../../account/index.ts';
import { command, reply } from '../../core/command.ts';
import { type Context, isRootAdmin } from '../../core/context.ts';
import { domainKind } from '../../core/list.ts';
import { p, required } from '../../core/params.ts';
import { hostKind, zoneKind } from '../../infra/index.ts';
import { type NetworkRow, networkKind } from '../../network/index.ts';
import { diskOfferingKind, serviceOfferingKind } from '../../offering/index.ts';
import { templateKind } from '../../template/index.ts';
import { createGuest } from '../deploy.ts';
import { deployVmSaga } from '../sagas/deploy-vm.ts';
import { vmView } from '../views.ts';

/** Unicast, as a NIC's must be. */
const MAC = /^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/i;

export const deployVirtualMachine = command({
  name: 'deployVirtualMachine',
  about: 'Creates a virtual machine from a template or an ISO and starts it.',
  access: 'user',
  event: { type: 'VM.CREATE', text: 'deploying virtual machine', resource: 'VirtualMachine' },
  params: {
    zoneid: required(p.entity('the zone', zoneKind, 'use')),
    serviceofferingid: required(p.entity('the service offering', serviceOfferingKind, 'use')),
    templateid: p.entity('the template or ISO', templateKind, 'use'),
    name: p.string('its host name; made up when left out'),
    displayname: p.string('the name shown to people'),
    group: p.string('its group'),
    networkids: p.entities("its networks, the default one first; the account's own network when left out", networkKind, 'operate'),
    ipaddress: p.ip4('its address in the default network'),
    macaddress: p.string('its MAC in the default network', { match: MAC }),
    iptonetworklist: p.maps('its addresses, and MACs, by network; goes instead of networkids', ['networkid', 'ip', 'mac']),
    userdata: p.string('user data in Base64', { max: 1_048_576 }),
    keypair: p.string('name of an SSH key pair'),
    keypairs: p.texts('names of SSH key pairs'),
    details: p.details('cpuNumber, cpuSpeed and memory of a custom offering'),
    diskofferingid: p.entity('the offering of its data disk; of its root disk when deployed from an ISO', diskOfferingKind, 'use'),
    size: p.long('size of that disk in GiB, for a custom disk offering', { min: 1, max: 1_000_000 }),
    rootdisksize: p.long('size of its root disk in GiB, when larger than the template', { min: 1, max: 1_000_000 }),
    hypervisor: p.string('the hypervisor; that of the template when left out'),
    hostid: p.entity('the host to start on', hostKind, 'use'),
    startvm: p.boolean('false: create it, but do not start it'),
    displayvm: p.boolean('true if it is shown to its owner', { adminOnly: true }),
    account: p.string('the account that will own it; goes together with domainid'),
    domainid: p.entity('the domain of that account', domainKind, 'use'),
  },
  reply: reply.job(vmView, { create: true }),
  run: async (context, params) => {
    const { zoneid: zone, serviceofferingid: offering, templateid: template } = params;
    if (!template) throw new CloudError('InvalidParameter', 'templateid is needed: the template or ISO to deploy from');
    if (offering.system || offering.state !== 'Active')
      throw new CloudError('InvalidParameter', `the service offering ${offering.name} cannot be used`);
    if (zone.allocationState === 'Disabled' && !isRootAdmin(context.caller))
      throw new CloudError('Forbidden', `the zone ${zone.name} is not enabled`);
    if (template.zoneId !== null && template.zoneId !== zone.id)
      throw new CloudError('InvalidParameter', `the template ${template.name} is not in the zone ${zone.name}`);
    if (
      params.hypervisor !== undefined &&
      template.hypervisor !== null &&
      params.hypervisor.toLowerCase() !== template.hypervisor.toLowerCase()
    ) {
      throw new CloudError(
        'InvalidParameter',
        `the template ${template.name} is for ${template.hypervisor}, not for ${params.hypervisor.slice(0, 40)}`,
      );
    }
    if (params.hostid !== undefined && !isRootAdmin(context.caller)) throw new CloudError('Forbidden', 'only root admins choose a host');
    if (params.hostid !== undefined && params.hostid.zoneId !== zone.id)
      throw new CloudError('InvalidParameter', `the host ${params.hostid.name} is not in the zone ${zone.name}`);
    const owner = await ownerOf(context, params);
    const { networks, addresses, macs } = await chosenNetworks(context, params);
    for (const network of networks) {
      // A root admin may look into another's network with a machine of his own, but not put one tenant's machine into another's.
      const isOwn = isRootAdmin(context.caller) && owner.accountId === context.caller.accountId;
      if (network.accountId !== owner.accountId && !isOwn)
        throw new CloudError('InvalidParameter', `the network ${network.name} belongs to another account`);
    }
    return context.db.transact(async (tx) => {
      const { id } = await createGuest(tx, context, {
        owner,
        zone,
        offering,
        template,
        hypervisor: params.hypervisor,
        name: params.name,
        displayName: params.displayname,
        group: params.group,
        networks,
        addresses,
        macs,
        userData: params.userdata,
        keyPairs: [...(params.keypair === undefined ? [] : [params.keypair]), ...(params.keypairs ?? [])],
        details: params.details ?? {},
        diskOffering: params.diskofferingid,
        diskSizeGib: params.size,
        rootSizeGib: params.rootdisksize,
        host: params.hostid,
        displayVm: params.displayvm ?? true,
      });
      const started = await context.start(
        deployVmSaga,
        { id, hostId: params.hostid?.id ?? null, start: params.startvm ?? true },
        { instance: { type: 'VirtualMachine', id }, text: `deploying virtual machine ${params.name ?? id}` },
        tx,
      );
      return { ...started, id };
    });
  },
});

async function chosenNetworks(
  context: Context,
  {
    networkids = [],
    ipaddress,
    macaddress,
    iptonetworklist,
  }: {
    macaddress?: string | undefined;
    networkids?: NetworkRow[] | undefined;
    ipaddress?: string | undefined;
    iptonetworklist?: Record<string, string>[] | undefined;
  },
): Promise<{ networks: NetworkRow[]; addresses: Map<string, string>; macs: Map<string, string> }> {
  const addresses = new Map<string, string>();
  const macs = new Map<string, string>();
  if (!iptonetworklist) {
    const [first] = networkids;
    if (ipaddress !== undefined && first) addresses.set(first.id, ipaddress);
    if (ipaddress !== undefined && !first) throw new CloudError('InvalidParameter', 'ipaddress goes together with networkids');
    if (macaddress !== undefined && first) macs.set(first.id, macaddress.toLowerCase());
    if (macaddress !== undefined && !first) throw new CloudError('InvalidParameter', 'macaddress goes together with networkids');
    return { networks: networkids, addresses, macs };
  }
  if (networkids.length > 0) throw new CloudError('InvalidParameter', 'give either networkids or iptonetworklist');
  const ids = iptonetworklist.map(({ networkid = '' }) => networkid.trim().toLowerCase());
  // Two NICs in one network would have one name and two addresses; and the list below leaves out what it has read already.
  const twice = ids.find((id, index) => ids.indexOf(id) < index);
  if (twice !== undefined) throw new CloudError('InvalidParameter', `the network ${twice.slice(0, 36)} is given twice`);
  const list = p.entities('networks', networkKind, 'operate');
  const place = { command: 'deployVirtualMachine', param: 'iptonetworklist', context };
  const networks = (await list.read({ text: ids.join(',') }, place)) ?? [];
  if (ipaddress !== undefined || macaddress !== undefined)
    throw new CloudError('InvalidParameter', 'addresses and MACs are given either in iptonetworklist or as ipaddress and macaddress');
  for (const [index, { ip, mac }] of iptonetworklist.entries()) {
    const network = networks[index];
    if (network && mac) macs.set(network.id, ((await p.string('MAC', { match: MAC }).read({ text: mac }, place)) ?? '').toLowerCase());
    if (network && ip) addresses.set(network.id, (await p.ip4('address').read({ text: ip }, place)) ?? '');
  }
  return { networks, addresses, macs };
}
