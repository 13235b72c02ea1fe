import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { newId } from '../protocol/ids.ts';
import { encode, type FrameOf } from '../protocol/link/frame.ts';
import { fileIdentityStore } from '../protocol/link/identity.ts';
import { openLinkServer, type ServerLink } from '../protocol/link/server.ts';
import { createLog } from '../protocol/log.ts';
import type { Beat } from '../protocol/messages/beat.ts';
import { openAuthority } from './certificates.testing.ts';
import type { AgentConfig } from './config.ts';
import { bundleAgent } from './install/bundle.ts';

const room = await mkdtemp(join(tmpdir(), 'nephos-agent-'));
const children: ChildProcess[] = [];
after(async () => {
  for (const child of children) child.kill('SIGKILL');
  await rm(room, { recursive: true, force: true });
});

test('OV-02 the bundled agent connects, tells everything, answers, comes back after a kill, and says goodbye', async () => {
  const authority = await openAuthority(join(room, 'authority'));
  const management = await authority.sign('management');
  const id = newId('host');
  const beats: Beat[] = [];
  const answers: (FrameOf<'answer'> | FrameOf<'refusal'>)[] = [];
  const ends: string[] = [];
  const links: ServerLink[] = [];
  const server = await openLinkServer({
    host: '127.0.0.1',
    port: 0,
    identity: { id: management.id, keyPem: management.keyPem, chainPem: management.certificatePem, caPem: management.caPem },
    beatMs: 200,
    join: () => assert.fail('an agent with a certificate joins again'),
    renew: () => assert.fail(),
    isRevoked: async () => false,
    file: async () => null,
    accept: (link) => {
      links.push(link);
      return {
        answer: (frame) => void answers.push(frame),
        bell: () => {},
        beat: (beat) => void beats.push(beat),
        ended: (how) => void ends.push(how),
      };
    },
    onRefused: (refusal) => assert.fail(refusal.words),
    log: createLog('test', { level: 'silent' }),
  });
  after(() => server.close());

  const stateDirectory = join(room, 'state');
  await fileIdentityStore(join(stateDirectory, 'identity')).write(await authority.sign('host', id));
  const config: AgentConfig = {
    id,
    kind: 'host',
    servers: [`127.0.0.1:${server.port}`],
    join: null,
    stateDirectory,
    driver: 'simulated',
    bridges: { management: null, public: null, storage: null },
    logFile: null,
  };
  await writeFile(join(room, 'agent.json'), JSON.stringify(config));
  await writeFile(join(room, 'agent.mjs'), await bundleAgent());
  const start = (): ChildProcess => {
    const child = spawn(process.execPath, [join(room, 'agent.mjs'), join(room, 'agent.json')], { stdio: 'ignore' });
    children.push(child);
    return child;
  };
  const ended = (child: ChildProcess): Promise<number | null> => new Promise((resolve) => child.once('exit', (code) => resolve(code)));
  const until = async (isSo: () => boolean): Promise<void> => {
    const end = performance.now() + 15_000;
    while (!isSo()) {
      assert.ok(performance.now() < end);
      await wait(20);
    }
  };

  const first = start();
  await until(() => beats.length >= 2);
  assert.deepEqual(beats[0], { host: { whole: true, machines: [] } });
  assert.deepEqual(beats[1], { host: { whole: false, machines: [] } });
  const ask = (frameId: string, name: string, body: unknown): void =>
    links.at(-1)?.sendText(encode({ kind: 'ask', id: frameId, name, body, requestId: 'test', timeoutMs: 5000 }));
  ask('1', 'host.describe', {});
  ask('2', 'machine.stop', { id: 'not-an-id', force: true, graceSeconds: 0 });
  await until(() => answers.length === 2);
  const [described] = answers.filter(({ kind }) => kind === 'answer');
  assert.ok(described && typeof described.body === 'object' && described.body !== null && 'accelerator' in described.body);
  assert.equal(described.body.accelerator, 'simulated');
  assert.match(JSON.stringify(answers.find(({ kind }) => kind === 'refusal')?.body), /MalformedParameter.*machine\.stop\.id/);

  const status = await readFile(`/proc/${first.pid}/status`, 'utf8');
  const residentMib = Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1024;
  assert.ok(residentMib > 10 && residentMib < 90, `${residentMib} MiB`);

  const killed = ended(first);
  first.kill('SIGKILL');
  await killed;
  await until(() => ends.length === 1);
  assert.deepEqual(ends, ['lost']);
  beats.length = 0;
  const second = start();
  await until(() => beats.length >= 1);
  assert.equal(beats[0]?.host?.whole, true);

  // Of a host that was removed the agent dials no more, also when it is started again, and has nothing to prove who it was.
  answers.length = 0;
  ask('3', 'host.retire', {});
  await until(() => answers.length === 1 && ends.length === 2);
  const retired = ended(second);
  second.kill('SIGTERM');
  assert.equal(await retired, 0);
  const dials = links.length;
  const third = start();
  await wait(2000);
  assert.equal(links.length, dials);
  assert.equal(third.exitCode, null, 'it does not end either, for it would be started again and again');
  assert.equal(await fileIdentityStore(join(stateDirectory, 'identity')).read(), null);
  const leaving = ended(third);
  third.kill('SIGTERM');
  assert.equal(await leaving, 0);
  // Installed anew it is an agent like any other.
  await rm(join(stateDirectory, 'identity'), { recursive: true });
  await fileIdentityStore(join(stateDirectory, 'identity')).write(await authority.sign('host', id));
  beats.length = 0;
  ends.length = 1;
  const fourth = start();
  await until(() => beats.length >= 1);

  const gone = ended(fourth);
  fourth.kill('SIGTERM');
  assert.equal(await gone, 0);
  await until(() => ends.length === 2);
  assert.deepEqual(ends, ['lost', 'bye']);
});
