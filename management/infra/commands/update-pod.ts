import { IsNull, Not } from 'typeorm';
import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { lock, type Tx } from '../../core/db.ts';
import { p, required } from '../../core/params.ts';
import { addPrivateAddresses, removePrivateAddresses } from '../addresses.ts';
import { type PodRow, podRanges, pods, type ZoneRow, zones } from '../entities.ts';
import { podKind } from '../kinds.ts';
import { checkRange, mustBeFree, mustBeOwnNetwork, type RangeRequest } from '../ranges.ts';
import { moveAllocation } from '../states.ts';
import { loadPod, podView } from '../views.ts';
import { allocationStateParam } from './zone-params.ts';

export const updatePod = command({
  name: 'updatePod',
  about: 'Changes a pod: its name, its state, and its management addresses as far as no system VM has them.',
  access: 'admin',
  event: { type: 'POD.EDIT', text: 'updating pod', resource: 'Pod' },
  params: {
    id: required(p.entity('the pod', podKind, 'operate')),
    name: p.string('new name'),
    gateway: p.ip4('gateway of its management network'),
    netmask: p.ip4('netmask of its management network'),
    startip: p.ip4('first address for system VMs'),
    endip: p.ip4('last address for system VMs'),
    allocationstate: allocationStateParam('Enabled or Disabled'),
  },
  reply: reply.one(podView),
  run: async (context, { id: { id, zoneId }, name, gateway, netmask, startip, endip, allocationstate }) => {
    await context.db.transact(async (tx) => {
      const zone = await lock(tx, zones, { id: zoneId });
      const pod = await lock(tx, pods, { id });
      if (!zone || !pod || pod.removedAt) throw new CloudError('NotFound', 'the pod has been removed meanwhile');
      if (name !== undefined && (await tx.existsBy(pods, { zoneId, name, id: Not(id), removedAt: IsNull() })))
        throw new CloudError('InvalidParameter', `A pod with the name ${name} exists already in the zone ${zone.name}`);
      await tx.update(pods, { id }, { name: name ?? pod.name });
      if ([gateway, netmask, startip, endip].some((value) => value !== undefined))
        await changeRange(tx, zone, pod, { gateway, netmask, startip, endip });
      if (allocationstate !== undefined) await moveAllocation(tx, pods, pod, allocationstate);
    });
    context.wake('zone');
    return loadPod(context, id);
  },
});

type Changes = { readonly [K in 'gateway' | 'netmask' | 'startip' | 'endip']: string | undefined };

/** The addresses are taken away and made anew, which fails when a NIC has one that is moved or lost. */
async function changeRange(tx: Tx, zone: ZoneRow, pod: PodRow, { gateway, netmask, startip, endip }: Changes): Promise<void> {
  const ranges = await tx.findBy(podRanges, { podId: pod.id });
  const [range] = ranges;
  if (!range || ranges.length > 1)
    throw new CloudError(
      'InvalidParameter',
      `the pod ${pod.name} has ${ranges.length} ranges; change them with createManagementNetworkIpRange and deleteManagementNetworkIpRange`,
    );
  const request: RangeRequest = {
    gateway: gateway ?? pod.gateway,
    netmask: netmask ?? pod.netmask,
    startIp: startip ?? range.startIp,
    endIp: endip ?? range.endIp,
  };
  const wanted = checkRange(request);
  await mustBeOwnNetwork(tx, zone.id, wanted.cidr, pod.id);
  await mustBeFree(tx, zone, wanted, range.id);
  await removePrivateAddresses(tx, { kind: 'management', scopeId: pod.id }, range);
  await addPrivateAddresses(tx, { kind: 'management', zoneId: zone.id, scopeId: pod.id }, wanted);
  await tx.update(podRanges, { id: range.id }, { startIp: wanted.startIp, endIp: wanted.endIp });
  await tx.update(pods, { id: pod.id }, { gateway: wanted.gateway, netmask: wanted.netmask });
}
