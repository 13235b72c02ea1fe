import { type StateOf, stateMachine } from '../state-machine.ts';

export const volumeStates = stateMachine('volume', {
  Allocated: { create: 'Creating', destroy: 'Destroy' },
  Creating: { succeed: 'Ready', fail: 'Allocated', retry: 'Creating', destroy: 'Destroy' },
  Ready: {
    unmake: 'Creating',
    destroy: 'Destroy',
    snapshot: 'Snapshotting',
    resize: 'Resizing',
    migrate: 'Migrating',
    attach: 'Attaching',
  },
  Snapshotting: { succeed: 'Ready', fail: 'Ready' },
  Resizing: { succeed: 'Ready', fail: 'Ready' },
  Migrating: { succeed: 'Ready', fail: 'Ready' },
  Attaching: { succeed: 'Ready', fail: 'Ready' },
  Destroy: { expunge: 'Expunging', recover: 'Ready' },
  Expunging: { succeed: 'Expunged', fail: 'Destroy', expunge: 'Expunging' },
  Expunged: {},
});
export type VolumeState = StateOf<typeof volumeStates>;

export const storagePoolStates = stateMachine('storage pool', {
  Initial: { attach: 'Attaching' },
  Attaching: { succeed: 'Up', fail: 'Initial' },
  Up: { disable: 'Disabled', prepareMaintenance: 'PrepareForMaintenance', remove: 'Removed' },
  Disabled: { enable: 'Up', remove: 'Removed' },
  PrepareForMaintenance: { maintain: 'Maintenance', fail: 'ErrorInMaintenance', cancel: 'Up' },
  ErrorInMaintenance: { prepareMaintenance: 'PrepareForMaintenance', cancel: 'Up' },
  Maintenance: { cancel: 'Up', remove: 'Removed' },
  Removed: {},
});
export type StoragePoolState = StateOf<typeof storagePoolStates>;
