import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { attempt } from '../../processes.ts';
import { bootProbe, findAccelerator, probeSector } from './kvm-probe.ts';

const room = await mkdtemp(join(tmpdir(), 'nephos-probe-test-'));
after(() => rm(room, { recursive: true, force: true }));

test('OV-01 the probe boots where booting works', async () => {
  const outcome = await bootProbe('tcg', 30);
  assert.equal(outcome.stdout, 'Nephos\n');
  assert.ok(outcome.booted);
});

test('a probe that does not come to its end has not booted', async () => {
  const outcome = await bootProbe('tcg', 0.02);
  assert.ok(outcome.late);
  assert.ok(!outcome.booted);
});

const hasAssembler = (await attempt('as', ['--version'])).code === 0 && (await attempt('ld', ['--version'])).code === 0;
test('the sector is what its source says', { skip: hasAssembler ? false : 'no assembler here' }, async () => {
  const source = fileURLToPath(new URL('./kvm-probe.S', import.meta.url));
  assert.equal((await attempt('as', ['--64', source, '-o', join(room, 'probe.o')])).code, 0);
  assert.equal((await attempt('ld', ['-Ttext=0x7c00', '--oformat=binary', '-o', join(room, 'probe.bin'), join(room, 'probe.o')])).code, 0);
  assert.deepEqual(probeSector(), await readFile(join(room, 'probe.bin')));
});

test('the answer is kept for this boot, and found anew in the next', async () => {
  const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  const kept = { bootId, accelerator: 'kvm', reason: 'as found before' };
  await writeFile(join(room, 'accelerator.json'), JSON.stringify(kept));
  assert.deepEqual(await findAccelerator(room), { accelerator: 'kvm', reason: 'as found before' });
  await writeFile(join(room, 'accelerator.json'), JSON.stringify({ ...kept, bootId: 'another' }));
  const found = await findAccelerator(room);
  assert.notEqual(found.reason, 'as found before');
  assert.equal(found.accelerator === 'kvm', found.reason === '');
});
