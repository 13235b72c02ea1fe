import { type Infer, s } from '../schema.ts';

const protocols = s.union(
  s.object({ protocol: s.oneOf('tcp', 'udp'), startPort: s.int({ min: 1, max: 65_535 }), endPort: s.int({ min: 1, max: 65_535 }) }),
  s.object({ protocol: s.literal('icmp'), icmpType: s.int({ min: -1, max: 255 }), icmpCode: s.int({ min: -1, max: 255 }) }),
  s.object({ protocol: s.literal('all') }),
);
export const Firewall = s.object({
  /** What happens to guests' packets to the outside that no egress rule names. */
  egressDefault: s.oneOf('allow', 'deny'),
  /** Exceptions to the default. */
  egress: s.list(s.object({ sourceCidr: s.cidr4(), destinationCidr: s.cidr4(), match: protocols }), { max: 10_000 }),
});
export type Firewall = Infer<typeof Firewall>;
