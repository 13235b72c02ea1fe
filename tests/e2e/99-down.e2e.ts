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
import { realCloud } from './cloud.ts';

const lines = async (file: string, ...args: string[]): Promise<string[]> =>
  (await command(file, args, { timeoutSeconds: 30 })).stdout.split('\n').filter(Boolean);

interface Running {
  readonly pid: string;
  readonly words: string;
  /** The mark of whoever started it for the cloud, which its children may have dropped. */
  readonly mark: string;
  readonly network: string;
}

async function processes(): Promise<Running[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const text = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '');
  return Promise.all(
    pids.map(async (pid) => ({
      pid,
      words: (await text(`/proc/${pid}/cmdline`)).replaceAll('\0', ' ').trim(),
      mark: /(?:^|\0)NEPHOS_PROCESS=([^\0]*)/.exec(await text(`/proc/${pid}/environ`))?.[1] ?? '',
      network: await readlink(`/proc/${pid}/ns/net`).catch(() => ''),
    })),
  );
}

/** What was started for this cloud, and all that runs in the network namespaces of its hosts and servers. */
async function processesOf(varDir: string): Promise<Running[]> {
  const all = await processes();
  const isMarked = ({ mark }: Running): boolean => mark.startsWith(`${varDir}/run/`) || mark.startsWith(`${varDir}/lab/`);
  const machine = await readlink('/proc/self/ns/net');
  const networks = new Set(all.filter(isMarked).map(({ network }) => network));
  networks.delete(machine);
  return all.filter((each) => isMarked(each) || networks.has(each.network));
}

test('down takes the whole cloud down, and a second time finds nothing to do', { timeout: 180_000 }, async () => {
  const varDir = varDirectory;
  await realCloud();
  const before = await processesOf(varDir);
  // Redis writes its title over its environment, so it is asked for by its own file further down.
  for (const part of [/out\/management/, /mariadbd/, /libvirtd/, /agent\.mjs/, /qemu-system-x86_64 -name guest=/])
    assert.ok(
      before.some(({ words }) => part.test(words)),
      `${part} runs`,
    );
  const quiet = reporter();
  await down(varDir, { wipe: false, packages: false, steps: quiet });
  const now = await processes();
  assert.deepEqual(
    before.filter(({ pid, words }) => now.some((each) => each.pid === pid && each.words === words)),
    [],
  );
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
