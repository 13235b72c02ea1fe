import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newId } from '../protocol/ids.ts';
import { powerReport } from './beat.ts';
import type { ListedMachine } from './hypervisors/hypervisor.ts';

const machine = (): ListedMachine => ({ id: newId('machine'), name: 'i-2-3-VM', power: 'On' });

test('first everything, then what changed, then everything again after a new link', async () => {
  const [one, two] = [machine(), machine()];
  let list = [one];
  const report = powerReport(async () => list);
  const on = ({ id }: ListedMachine) => ({ id, power: 'On' as const });
  assert.deepEqual(await report.beat(), { host: { whole: true, machines: [on(one)] } });
  assert.deepEqual(await report.beat(), { host: { whole: false, machines: [] } });
  list = [two];
  assert.deepEqual(await report.beat(), { host: { whole: false, machines: [on(two), { id: one.id, power: 'Off' }] } });
  assert.deepEqual(await report.beat(), { host: { whole: false, machines: [] } });
  report.restart();
  assert.deepEqual(await report.beat(), { host: { whole: true, machines: [on(two)] } });
});

test('a reading that failed is made up for, and one during which the link changed is not taken for told', async () => {
  const one = machine();
  let fails = true;
  let during = (): void => {};
  const report = powerReport(async () => {
    during();
    if (fails) throw new Error('no');
    return [one];
  });
  await assert.rejects(report.beat());
  fails = false;
  during = () => report.restart();
  assert.equal((await report.beat()).host?.whole, true);
  during = () => {};
  assert.equal((await report.beat()).host?.whole, true);
  assert.equal((await report.beat()).host?.whole, false);
});
