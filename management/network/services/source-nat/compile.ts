import type { SourceNat } from '../../../../protocol/network-services/source-nat.ts';
import type { RouterRows } from '../rows.ts';

export const compileSourceNat = ({ publicAddress }: RouterRows): SourceNat | null => (publicAddress ? { publicAddress } : null);
