import { message } from '../message.ts';
import { networkServiceSections } from '../network-services/index.ts';
import { type Infer, s } from '../schema.ts';

/** The whole of what a virtual router should be. An older generation than the applied one is ignored. */
export const RouterConfiguration = s.object({
  generation: s.int(),
  guest: s.object({
    device: s.string({ max: 15, match: /^eth\d+$/ }),
    address: s.ip4(),
    prefix: s.int({ min: 8, max: 30 }),
    mtu: s.int({ min: 576, max: 9216 }),
  }),
  public: s.nullable(
    s.object({ device: s.string({ max: 15, match: /^eth\d+$/ }), address: s.ip4(), prefix: s.int({ min: 8, max: 30 }), gateway: s.ip4() }),
  ),
  ...networkServiceSections,
});
export type RouterConfiguration = Infer<typeof RouterConfiguration>;

export const ApplyRouter = message({
  name: 'router.apply',
  ask: RouterConfiguration,
  answer: s.object({ generation: s.int(), changedFiles: s.int() }),
  patience: 'normal',
});
/** What the router runs now: generation, and each service's own state read back from the kernel and the daemons. */
export const ReadRouter = message({
  name: 'router.read',
  ask: s.object({}),
  answer: s.object({
    generation: s.int(),
    /** SHA-256 of the configuration as applied. */
    fingerprint: s.string({ max: 64 }),
    /** Sections whose read-back differs from what was applied. */
    drift: s.list(s.string({ max: 40 }), { max: 32 }),
    services: s.record(s.oneOf('running', 'stopped', 'failed'), { max: 32 }),
    /** Guests that have fetched their password since the configuration was applied: address to password generation. */
    passwordsSaved: s.record(s.int(), { max: 65_536 }),
  }),
  patience: 'fast',
});
