/** Which bridge of a KVM host carries which traffic of a zone, from the labels of its traffic types. */
import type { Id } from '../../protocol/schema.ts';
import type { Tx } from '../core/db.ts';
import type { TrafficTypeName } from './entities.ts';

/** Traffic that machines are plugged into directly; guest traffic goes over VXLAN and control traffic over a bridge of its own. */
export type BridgedTraffic = Extract<TrafficTypeName, 'Management' | 'Public' | 'Storage'>;
export const bridgedTraffic: readonly BridgedTraffic[] = ['Management', 'Public', 'Storage'];

const usual: Readonly<Record<BridgedTraffic, string>> = { Management: 'cloudbr0', Public: 'cloudbr1', Storage: 'cloudbr2' };

export const bridgesOf = async (tx: Tx, zoneId: Id<'zone'>): Promise<Readonly<Record<BridgedTraffic, string>>> => {
  const rows: { trafficType: TrafficTypeName; label: string | null }[] = await tx.query(
    `SELECT t.traffic_type AS trafficType, t.kvm_network_label AS label FROM traffic_type t JOIN physical_network n ON n.id = t.physical_network_id
      WHERE n.zone_id = ? AND n.removed_at IS NULL AND t.removed_at IS NULL ORDER BY t.id`,
    [zoneId],
  );
  const labelOf = (traffic: BridgedTraffic): string | null => {
    const row = rows.find(({ trafficType }) => trafficType === traffic);
    return row ? (row.label ?? usual[traffic]) : null;
  };
  const management = labelOf('Management') ?? usual.Management;
  // Without traffic of their own, public addresses are looked for where they usually are, and storage shares the management network.
  return { Management: management, Public: labelOf('Public') ?? usual.Public, Storage: labelOf('Storage') ?? management };
};

export const bridgeFor = async (tx: Tx, zoneId: Id<'zone'>, traffic: BridgedTraffic): Promise<string> =>
  (await bridgesOf(tx, zoneId))[traffic];
