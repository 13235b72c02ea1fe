import { type StateOf, stateMachine } from '../state-machine.ts';

/** The link to an agent, of a host or of a system VM. A lost link is Alert; Down needs proof. */
export const agentStates = stateMachine('agent', {
  Creating: { connect: 'Connecting', remove: 'Removed' },
  Connecting: { ready: 'Up', lose: 'Alert', disconnect: 'Disconnected', prove: 'Down', connect: 'Connecting', remove: 'Removed' },
  Up: { lose: 'Alert', disconnect: 'Disconnected', prove: 'Down', connect: 'Connecting', remove: 'Removed' },
  Alert: { ready: 'Up', connect: 'Connecting', prove: 'Down', disconnect: 'Disconnected', remove: 'Removed' },
  Disconnected: { ready: 'Up', connect: 'Connecting', lose: 'Alert', prove: 'Down', remove: 'Removed' },
  Down: { connect: 'Connecting', remove: 'Removed' },
  Removed: {},
});
export type AgentState = StateOf<typeof agentStates>;

/** What the operator wants of a host. */
export const hostResourceStates = stateMachine('host', {
  Creating: { enable: 'Enabled' },
  Enabled: { disable: 'Disabled', prepareMaintenance: 'PrepareForMaintenance' },
  Disabled: { enable: 'Enabled', prepareMaintenance: 'PrepareForMaintenance' },
  PrepareForMaintenance: { maintain: 'Maintenance', cancel: 'Enabled', fail: 'ErrorInPrepareForMaintenance' },
  ErrorInPrepareForMaintenance: { prepareMaintenance: 'PrepareForMaintenance', maintain: 'Maintenance', cancel: 'Enabled' },
  Maintenance: { cancel: 'Enabled' },
});
export type HostResourceState = StateOf<typeof hostResourceStates>;

export const allocationStates = stateMachine('zone, pod or cluster', {
  Enabled: { disable: 'Disabled' },
  Disabled: { enable: 'Enabled' },
});
export type AllocationState = StateOf<typeof allocationStates>;
