import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newId } from '../../protocol/ids.ts';
import { createLog } from '../../protocol/log.ts';
import type { Call } from '../../protocol/message.ts';
import type { Services } from '../core/services.ts';
import type { MachineRow } from './entities.ts';
import { heed, judge } from './power.ts';

const host = newId('host');
const other = newId('host');
const base = { kind: 'guest', removedAt: null, hostId: null, lastHostId: null } as const;

test('what a host reports is nothing, a stop, a machine to adopt, or one that should not run there', () => {
  const cases: [Parameters<typeof judge>[0], 'On' | 'Off', ReturnType<typeof judge>][] = [
    [{ ...base, state: 'Running', hostId: host }, 'Off', 'stopped'],
    [{ ...base, state: 'Running', hostId: other }, 'Off', 'nothing'],
    [{ ...base, state: 'Stopping', hostId: host }, 'Off', 'nothing'],
    [{ ...base, state: 'Starting', hostId: host }, 'Off', 'nothing'],
    [{ ...base, state: 'Running', hostId: host }, 'On', 'nothing'],
    [{ ...base, state: 'Running', hostId: other }, 'On', 'stray'],
    [{ ...base, state: 'Starting', hostId: other }, 'On', 'nothing'],
    [{ ...base, state: 'Stopped', lastHostId: host }, 'On', 'adopt'],
    [{ ...base, state: 'Stopped', lastHostId: other }, 'On', 'stray'],
    [{ ...base, kind: 'router', state: 'Stopped', lastHostId: host }, 'On', 'stray'],
    [{ ...base, state: 'Destroyed', lastHostId: host }, 'On', 'stray'],
    [{ ...base, state: 'Expunging', lastHostId: host }, 'On', 'stray'],
    [{ ...base, state: 'Error', lastHostId: host }, 'On', 'stray'],
    [{ ...base, state: 'Stopped', lastHostId: host, removedAt: new Date() }, 'On', 'stray'],
    [null, 'On', 'stray'],
    [null, 'Off', 'nothing'],
  ];
  for (const [machine, power, expected] of cases) assert.equal(judge(machine, host, power), expected, `${machine?.state} seen ${power}`);
});

/** Management that reads these rows one after the other, with a host on which the machine runs. */
function world(id: MachineRow['id'], rows: readonly Partial<MachineRow>[]) {
  const asked: string[] = [];
  let reads = 0;
  const next = () => {
    const row = rows[Math.min(reads, rows.length - 1)];
    reads += 1;
    return row;
  };
  const services = {
    db: { read: { findBy: async () => [next()], findOneBy: async () => next() } },
    agents: {
      ask: async (_to: unknown, { message }: Call<unknown>) => {
        asked.push(message.name);
        return message.name === 'machine.list' ? { machines: [{ id, name: 'i-2-3-VM', power: 'On' }] } : { power: 'Off' };
      },
    },
    log: createLog('test', { level: 'silent' }),
    wake: () => {},
  };
  return { asked, services: services as unknown as Services };
}

test('a machine that should not run on a host is stopped there, unless its start there has begun meanwhile', async () => {
  const id = newId('machine');
  const stray = { ...base, id, state: 'Stopped', lastHostId: other, generation: 3 } as const;
  const report = { whole: false, seen: [{ id, power: 'On' }] } as const;
  const still = world(id, [stray]);
  await heed(still.services, host, report);
  assert.deepEqual(still.asked, ['machine.list', 'machine.stop']);
  const begun = world(id, [stray, stray, { ...stray, state: 'Starting', hostId: host, generation: 4 }]);
  await heed(begun.services, host, report);
  assert.deepEqual(begun.asked, ['machine.list']);
});
