import type { Id } from '../../protocol/schema.ts';
import { type Area, asTables } from '../core/area.ts';
import { machineTables } from './entities.ts';
import { owedAsksReconciler } from './owed.ts';
import { heed, look, powerReconciler } from './power.ts';
import { remainsReconciler } from './remains.ts';

export { type MachineRow, machines, type ReservationRow, reservations } from './entities.ts';
export { release } from './placement.ts';
export { errorMachine, expungeMachine, mustFind, rebootMachine, type StartRequest, startMachine, stopMachine } from './start.ts';

export const machineArea: Area = {
  name: 'machine',
  tables: asTables(...machineTables),
  commands: [],
  sagas: [],
  reconcilers: [powerReconciler, owedAsksReconciler, remainsReconciler],
  settings: [],
  agentHooks: {
    // Before it is Up: whoever sees a host Up may take what is said of its machines for true.
    prepare: async (services, { kind, id }) => {
      if (kind === 'host') await look(services, id as Id<'host'>);
    },
    beat: async (services, { kind, id }, { host }) => {
      if (kind === 'host' && host && (host.whole || host.machines.length > 0))
        await heed(services, id as Id<'host'>, { whole: host.whole, seen: host.machines });
    },
    bell: async (services, { kind, id }, subject) => {
      if (kind === 'host' && subject === 'machine') await look(services, id as Id<'host'>);
    },
  },
};
