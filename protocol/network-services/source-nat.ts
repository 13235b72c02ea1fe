import { type Infer, s } from '../schema.ts';

export const SourceNat = s.object({ publicAddress: s.ip4() });
export type SourceNat = Infer<typeof SourceNat>;
