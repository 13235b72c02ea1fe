import { type Infer, s } from '../schema.ts';

export const Dns = s.object({
  domain: s.hostName(),
  /** Where questions about other names go. */
  forwarders: s.list(s.ip4(), { max: 4 }),
  records: s.list(s.object({ name: s.hostName(), address: s.ip4() }), { max: 65_536 }),
});
export type Dns = Infer<typeof Dns>;
