/** The end of an end-to-end run: all is stopped, and the machine has nothing of it left but files under the var directory. */
import assert from 'node:assert/strict';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { test } from 'node:test';
import { command } from '../../lab/command.ts';
import { down } from '../../lab/down.ts';
import { varDirectory } from '../../lab/installation.ts';
import { labStatus } from '../../lab/lab.ts';
import { reporter } from '../../lab/progress.ts';
import { servicesStatus } from '../../lab/services.ts';

const lines = async (file: string, ...args: string[]): Promise<string[]> =>
  (await command(file, args, { timeoutSeconds: 30 })).stdout.split('\n').filter(Boolean);

/** Processes that work with the cloud's files, or in one of its namespaces. */
async function processesOf(varDir: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const words = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ').trim();
    const root = await readlink(`/proc/${pid}/root`).catch(() => '/');
    const isOurs =
      root !== '/' ||
      words.includes(`${varDir}/mariadb/`) ||
      words.includes(`${varDir}/management.json`) ||
      words.includes(`${varDir}/lab/`) ||
      /nephos-agent|\bqemu-system-x86_64 -name guest=/.test(words);
    if (isOurs && words !== '' && !words.includes('chrome')) found.push(`${pid} ${root} ${words.slice(0, 120)}`);
  }
  return found;
}

test('down takes the whole cloud down, and a second time finds nothing to do', { timeout: 180_000 }, async () => {
  const varDir = varDirectory;
  const quiet = reporter();
  await down(varDir, { wipe: false, packages: false, steps: quiet });
  assert.deepEqual(await processesOf(varDir), []);
  const ofLab = (line: string): boolean => /nephos-(lab|mgmt|pub|inet|nfs|h\d|e2e)|\b(198\.1[89]|203\.0\.113)\./.test(line);
  assert.deepEqual((await lines('ip', 'netns', 'list')).filter(ofLab), []);
  assert.deepEqual((await lines('ip', '-brief', 'address')).filter(ofLab), []);
  assert.deepEqual((await lines('ip', 'route', 'show', 'table', 'all')).filter(ofLab), []);
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
  assert.deepEqual(
    mounts.filter((line) => ofLab(line) || line.includes(`${varDir}/lab/`)),
    [],
  );
  assert.deepEqual(await servicesStatus(varDir), { mariadb: 'stopped', redis: 'stopped' });
  assert.equal((await labStatus()).switch, 'down');
  await assert.rejects(fetch('http://127.0.0.1:8080/healthz', { signal: AbortSignal.timeout(3000) }));
  await down(varDir, { wipe: false, packages: false, steps: quiet });
});
