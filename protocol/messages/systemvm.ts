import { message } from '../message.ts';
import { type Infer, s } from '../schema.ts';

/** Boot stages with seconds since the kernel started, in order. */
export const BootStage = s.object({
  stage: s.string({ max: 60 }),
  atSeconds: s.number({ min: 0, max: 1e9 }),
  detail: s.string({ max: 500 }),
});
export type BootStage = Infer<typeof BootStage>;

export const DescribeSystemVm = message({
  name: 'systemVm.describe',
  ask: s.object({}),
  answer: s.object({
    /** Version of the payload ISO. */
    version: s.string({ max: 80 }),
    operatingSystem: s.string({ max: 200 }),
    kernel: s.string({ max: 100 }),
    node: s.string({ max: 30 }),
    residentMib: s.int(),
    stages: s.list(BootStage, { max: 64 }),
  }),
  patience: 'fast',
});
/** The public keys that open ssh on 3922; whole, so a rotated key replaces the old one. OpenSSH lines. */
export const ApplyAuthorizedKeys = message({
  name: 'systemVm.applyAuthorizedKeys',
  ask: s.object({ keys: s.list(s.string({ max: 1000, match: /^ssh-[a-z0-9-]+ [A-Za-z0-9+/=]+( [A-Za-z0-9@._-]+)?$/ }), { max: 8 }) }),
  answer: s.object({}),
  patience: 'fast',
});
