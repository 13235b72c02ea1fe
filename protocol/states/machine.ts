import { type StateOf, stateMachine } from '../state-machine.ts';

/** Guests and system VMs alike. `powerOn` and `powerOff` are what a host reported without being told. */
export const machineStates = stateMachine('virtual machine', {
  Stopped: {
    start: 'Starting',
    destroy: 'Destroyed',
    expunge: 'Expunging',
    migrateStorage: 'Migrating',
    error: 'Error',
    powerOn: 'Running',
  },
  Starting: { succeed: 'Running', fail: 'Stopped', error: 'Error', powerOn: 'Running', powerOff: 'Stopped' },
  Running: { stop: 'Stopping', migrate: 'Migrating', powerOff: 'Stopped', powerOn: 'Running' },
  Stopping: { succeed: 'Stopped', fail: 'Running', powerOff: 'Stopped', powerOn: 'Running' },
  Migrating: { succeed: 'Running', fail: 'Running', powerOff: 'Stopped' },
  Destroyed: { recover: 'Stopped', expunge: 'Expunging' },
  Expunging: { expunge: 'Expunging' },
  Error: { destroy: 'Expunging', expunge: 'Expunging' },
});
export type MachineState = StateOf<typeof machineStates>;
/** States in which a machine holds capacity of its host. */
export const holdsCapacity: readonly MachineState[] = ['Starting', 'Running', 'Stopping', 'Migrating'];

export type Power = 'On' | 'Off' | 'Unknown' | 'Missing';
