/** Which bridge of a KVM host carries which traffic of a zone, from the labels of its traffic types. */
import type { Id } from '../../protocol/schema.ts';
import type { Tx } from '../core/db.ts';
import type { TrafficTypeName } from './entities.ts';

/** Traffic that machines are plugged into directly; guest traffic goes over VXLAN and control traffic over a bridge of its own. */
export type BridgedTraffic = Extract<TrafficTypeName, 'Management' | 'Public' | 'Storage'>;
export const bridgedTraffic: readonly BridgedTraffic[] = ['Management', 'Public', 'Storage'];

const usual: Readonly<Record<BridgedTraffic, string>> = { Management: 'cloudbr0', Public: 'cloudbr1', Storage: 'cloudbr2' };

export interface BridgeLabel {
  readonly zoneId: Id<'zone'>;
  readonly trafficType: TrafficTypeName;
  readonly label: string | null;
}
export const bridgeLabels = (tx: Tx, zoneIds: readonly Id<'zone'>[]): Promise<BridgeLabel[]> =>
  tx.query(
    `SELECT n.zone_id AS zoneId, t.traffic_type AS trafficType, t.kvm_network_label AS label
       FROM traffic_type t JOIN physical_network n ON n.id = t.physical_network_id
      WHERE n.zone_id IN (?) AND n.removed_at IS NULL AND t.removed_at IS NULL ORDER BY t.id`,
    [zoneIds],
  );

/** From the labels of one zone. */
export const bridgesFrom = (labels: readonly BridgeLabel[]): Readonly<Record<BridgedTraffic, string>> => {
  const labelOf = (traffic: BridgedTraffic): string | null => {
    const row = labels.find(({ trafficType }) => trafficType === traffic);
    return row ? (row.label ?? usual[traffic]) : null;
  };
  const management = labelOf('Management') ?? usual.Management;
  // Without traffic of their own, public addresses are looked for where they usually are, and storage shares the management network.
  return { Management: management, Public: labelOf('Public') ?? usual.Public, Storage: labelOf('Storage') ?? management };
};

export const bridgesOf = async (tx: Tx, zoneId: Id<'zone'>): Promise<Readonly<Record<BridgedTraffic, string>>> =>
  bridgesFrom(await bridgeLabels(tx, [zoneId]));

export const bridgeFor = async (tx: Tx, zoneId: Id<'zone'>, traffic: BridgedTraffic): Promise<string> =>
  (await bridgesOf(tx, zoneId))[traffic];
