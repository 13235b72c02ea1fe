import { type Infer, s } from '../schema.ts';

export const Dhcp = s.object({
  gateway: s.ip4(),
  netmask: s.ip4(),
  dnsServers: s.list(s.ip4(), { max: 4 }),
  domain: s.hostName(),
  mtu: s.int({ min: 576, max: 9216 }),
  leaseSeconds: s.int({ min: 60, max: 31_536_000 }),
  /** One per NIC; an unknown MAC gets nothing. */
  hosts: s.list(
    s.object({
      mac: s.mac(),
      address: s.ip4(),
      hostName: s.hostName(),
      /** False: its machine's way out is through another of its networks, so it hears of no gateway and no DNS here. Left out: true. */
      isDefault: s.optional(s.boolean()),
    }),
    { max: 65_536 },
  ),
});
export type Dhcp = Infer<typeof Dhcp>;
