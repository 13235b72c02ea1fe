import { type StateOf, stateMachine } from '../state-machine.ts';

export const networkStates = stateMachine('network', {
  Allocated: { implement: 'Implementing', destroy: 'Destroy' },
  Setup: { destroy: 'Destroy' },
  Implementing: { succeed: 'Implemented', fail: 'Shutdown' },
  Implemented: { shutdown: 'Shutdown', implement: 'Implementing' },
  Shutdown: { succeed: 'Allocated', fail: 'Implemented', implement: 'Implementing' },
  Destroy: {},
});
export type NetworkState = StateOf<typeof networkStates>;

export const nicStates = stateMachine('NIC', {
  Allocated: { reserve: 'Reserving' },
  Reserving: { succeed: 'Reserved', fail: 'Allocated' },
  Reserved: { release: 'Releasing', reserve: 'Reserving' },
  Releasing: { succeed: 'Allocated', fail: 'Reserved' },
});
export type NicState = StateOf<typeof nicStates>;

export const publicIpStates = stateMachine('public IP address', {
  Free: { allocate: 'Allocating' },
  Allocating: { succeed: 'Allocated', fail: 'Free' },
  Allocated: { release: 'Releasing' },
  Releasing: { succeed: 'Free', fail: 'Allocated' },
});
export type PublicIpState = StateOf<typeof publicIpStates>;
