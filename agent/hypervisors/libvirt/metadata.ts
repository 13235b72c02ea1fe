/** What the agent wrote into a domain's document, read back: after a restart it knows its machines from libvirt alone. */
import type { MachineSpec } from '../../../protocol/messages/machine.ts';
import { NicSpec } from '../../../protocol/messages/machine.ts';
import { type Id, type Infer, s } from '../../../protocol/schema.ts';
import type { GuardedNic } from '../../networking/anti-spoofing.ts';
import { tapDevice } from '../../networking/names.ts';
import { element, type XmlElement } from './xml.ts';

/** Namespace of our element. */
export const metadataUri = 'urn:nephos:agent:1';

export interface MachineRecord {
  readonly kind: MachineSpec['kind'];
  readonly nics: readonly GuardedNic[];
  readonly disks: readonly { readonly poolId: Id<'storagePool'>; readonly volumeId: Id<'volume'> }[];
  readonly isoPoolId: Id<'storagePool'> | null;
}

const Written = s.object({
  kind: s.oneOf('guest', 'console-proxy', 'secondary-storage', 'router'),
  isoPoolId: s.nullable(s.id('storagePool')),
  nics: s.list(
    s.object({
      nicId: NicSpec.shape.nicId,
      mac: s.mac(),
      network: s.oneOf('control', 'bridge', 'vxlan'),
      addresses: s.nullable(s.list(s.ip4(), { max: 64 })),
    }),
  ),
  disks: s.list(s.object({ poolId: s.id('storagePool'), volumeId: s.id('volume') })),
});

export const guardedNics = (nics: Infer<typeof Written>['nics']): GuardedNic[] =>
  nics.map(({ nicId, mac, network, addresses }) => ({ tap: tapDevice(nicId), mac, network, addresses }));

export const nicsOf = (spec: MachineSpec): GuardedNic[] =>
  guardedNics(spec.nics.map(({ nicId, mac, attachment, addresses }) => ({ nicId, mac, network: attachment.kind, addresses })));

export const metadataXml = (spec: MachineSpec): XmlElement =>
  element(
    'nephos:machine',
    { 'xmlns:nephos': metadataUri, kind: spec.kind, iso: spec.iso?.poolId ?? null },
    ...[...spec.nics]
      .sort((one, other) => one.device - other.device)
      .map(({ nicId, mac, addresses, attachment }) =>
        element('nephos:nic', { id: nicId, mac, network: attachment.kind, addresses: addresses === null ? null : addresses.join(' ') }),
      ),
    ...spec.disks.map(({ poolId, volumeId }) => element('nephos:disk', { pool: poolId, volume: volumeId })),
  );

/** Reads what `virsh metadata` prints. Our values hold no character that XML would write differently. */
export function parseMetadata(text: string): MachineRecord | null {
  const tags = [...text.matchAll(/<(?:\w+:)?(machine|nic|disk)\b([^<>]*?)\/?>/g)].map(([, name = '', rest = '']) => ({
    name,
    attributes: new Map(
      [...rest.matchAll(/([\w:]+)=(?:"([^"]*)"|'([^']*)')/g)].map(([, key = '', double, single]) => [key, double ?? single ?? '']),
    ),
  }));
  const machine = tags.find(({ name }) => name === 'machine')?.attributes;
  const addresses = (text: string | undefined): string[] | null =>
    text === undefined ? null : text.split(' ').filter((word) => word !== '');
  const read = Written.safeParse({
    kind: machine?.get('kind'),
    isoPoolId: machine?.get('iso') ?? null,
    nics: tags
      .filter(({ name }) => name === 'nic')
      .map(({ attributes }) => ({
        nicId: attributes.get('id'),
        mac: attributes.get('mac'),
        network: attributes.get('network'),
        addresses: addresses(attributes.get('addresses')),
      })),
    disks: tags
      .filter(({ name }) => name === 'disk')
      .map(({ attributes }) => ({ poolId: attributes.get('pool'), volumeId: attributes.get('volume') })),
  });
  if (!read.success) return null;
  const { kind, isoPoolId, nics, disks } = read.data;
  return { kind, isoPoolId, nics: guardedNics(nics), disks };
}
