/**
 * Guest networks between two hosts, with network namespaces for the hosts and for the guests, all on this machine's own kernel. It needs root.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { newId } from '../../protocol/ids.ts';
import { createLog } from '../../protocol/log.ts';
import { HostNetworks } from '../../protocol/messages/host.ts';
import { s } from '../../protocol/schema.ts';
import { parseJson } from '../json.ts';
import { attempt, run } from '../processes.ts';
import { antiSpoofing } from './anti-spoofing.ts';
import { guestNetworks } from './vxlan.ts';

interface Guest {
  readonly space: string;
  readonly host: 'a' | 'b';
  readonly vni: number;
  readonly tap: string;
  readonly mac: string;
  readonly address: string;
}

const TUNNEL = { a: '198.18.250.1', b: '198.18.250.2' } as const;
const MTU = 1450;
const ECHO_PORT = 7000;

/**
 * RL-18: two networks with the same addresses over two hosts; each passes, neither hears the other. And the rules at the taps: a guest
 * that sends as somebody else, or as a DHCP server, is not heard.
 */
export async function tryNetworksBetweenHosts(): Promise<void> {
  const tag = randomBytes(2).toString('hex');
  const host = { a: `nt${tag}a`, b: `nt${tag}b` } as const;
  const room = await mkdtemp(join(tmpdir(), 'nephos-networks-'));
  const guests: Guest[] = [];
  for (const vni of [101, 102]) {
    for (const [index, side] of (['a', 'b'] as const).entries()) {
      guests.push({
        space: `nt${tag}${side}${vni}`,
        host: side,
        vni,
        tap: `t${tag}${vni}${side}`.padEnd(13, '0'),
        mac: `02:00:00:00:0${vni - 100}:0${index + 1}`,
        address: `10.1.1.1${index + 1}`,
      });
    }
  }
  const guest = (side: 'a' | 'b', vni: number): Guest => {
    const found = guests.find((candidate) => candidate.host === side && candidate.vni === vni);
    assert.ok(found);
    return found;
  };
  const echoes: ChildProcess[] = [];
  const within = (space: string, ...argv: string[]): Promise<string> => run(`run ${argv[0]}`, 'ip', ['netns', 'exec', space, ...argv]);
  try {
    for (const space of [host.a, host.b, ...guests.map(({ space }) => space)]) await run('make a namespace', 'ip', ['netns', 'add', space]);
    await run('join the hosts', 'ip', ['link', 'add', 'eth0', 'netns', host.a, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', host.b]);
    for (const side of ['a', 'b'] as const) {
      await within(host[side], 'ip', 'address', 'add', `${TUNNEL[side]}/24`, 'dev', 'eth0');
      await within(host[side], 'ip', 'link', 'set', 'dev', 'eth0', 'up');
    }
    const applyAll = async (generation: number, knowsMacs: boolean, vnis: readonly number[] = [101, 102]): Promise<void> => {
      for (const [side, other] of [
        ['a', 'b'],
        ['b', 'a'],
      ] as const) {
        const networks = {
          generation,
          tunnelAddress: TUNNEL[side],
          networks: vnis.map((vni) => ({
            vni,
            mtu: MTU,
            peers: [
              {
                address: TUNNEL[other],
                macs: knowsMacs ? guests.flatMap((one) => (one.host === other && one.vni === vni ? [one.mac] : [])) : [],
              },
            ],
          })),
        };
        const path = join(room, `${side}.json`);
        await writeFile(
          path,
          JSON.stringify({ networks, stateDirectory: join(room, side), guests: guests.filter((one) => one.host === side) }),
        );
        await within(host[side], process.execPath, '--import', import.meta.resolve('tsx'), fileURLToPath(import.meta.url), path);
      }
    };
    await applyAll(1, false);
    for (const { space, host: side, vni, tap, mac, address } of guests) {
      await run('plug a guest in', 'ip', [
        ...['link', 'add', 'eth0', 'netns', space, 'address', mac, 'mtu', String(MTU)],
        ...['type', 'veth', 'peer', 'name', tap, 'netns', host[side]],
      ]);
      await within(host[side], 'ip', 'link', 'set', 'dev', tap, 'mtu', String(MTU), 'master', `brvx-${vni}`, 'up');
      await within(space, 'ip', 'address', 'add', `${address}/24`, 'dev', 'eth0');
      await within(space, 'ip', 'link', 'set', 'dev', 'eth0', 'up');
      const echo = spawn('ip', ['netns', 'exec', space, process.execPath, '-e', ECHO, space], { stdio: ['ignore', 'pipe', 'inherit'] });
      echoes.push(echo);
      await new Promise((resolve) => echo.stdout?.once('data', resolve));
    }

    const answers = (from: Guest, to: string, source = from.address, sourcePort = 0): Promise<string> =>
      within(from.space, process.execPath, '-e', CALL, to, source, String(sourcePort));
    for (const [generation, knowsMacs] of [
      [2, false],
      [3, true],
    ] as const) {
      await applyAll(generation, knowsMacs);
      for (const vni of [101, 102]) {
        assert.equal(await answers(guest('a', vni), guest('b', vni).address), guest('b', vni).space);
        assert.equal(await answers(guest('b', vni), guest('a', vni).address), guest('a', vni).space);
      }
    }
    // Many networks on one host: beyond twenty, those that are carried by multicast end at a limit of the kernel.
    const many = Array.from({ length: 25 }, (_, index) => 101 + index);
    await applyAll(4, true, many);
    const devices = await within(host.a, 'ip', '-brief', 'link');
    for (const vni of many) for (const name of [`brvx-${vni}`, `vxlan${vni}`]) assert.match(devices, new RegExp(`^${name}\\b`, 'm'), name);
    const last = guest('a', 102);
    assert.equal(await answers(last, guest('b', 102).address), guest('b', 102).space, 'one of twenty-five');
    await applyAll(5, true);
    assert.doesNotMatch(
      await within(host.a, 'ip', '-brief', 'link'),
      /(brvx-|vxlan)1(0[3-9]|[12]\d)\b/,
      'and those without guests go again',
    );
    await within(guest('b', 102).space, 'ip', 'link', 'set', 'dev', 'eth0', 'down');
    assert.equal(await answers(guest('a', 102), guest('b', 102).address), '', 'a guest of the other network answered');

    const spoofer = guest('a', 101);
    await within(spoofer.space, 'ip', 'address', 'add', '10.1.1.99/24', 'dev', 'eth0');
    assert.equal(await answers(spoofer, guest('b', 101).address, '10.1.1.99'), '', 'a foreign address was heard');
    assert.equal(await answers(spoofer, guest('b', 101).address, spoofer.address, 67), '', 'a DHCP server was heard');
    assert.equal(await answers(spoofer, guest('b', 101).address), guest('b', 101).space);
    await within(spoofer.space, 'ip', 'link', 'set', 'dev', 'eth0', 'address', '02:00:00:00:09:09');
    await within(spoofer.space, 'ip', 'neighbour', 'flush', 'dev', 'eth0');
    assert.equal(await answers(spoofer, guest('b', 101).address), '', 'a foreign MAC was heard');
  } finally {
    for (const echo of echoes) echo.kill('SIGKILL');
    for (const space of [...guests.map(({ space }) => space), host.a, host.b]) await attempt('ip', ['netns', 'delete', space]);
    await rm(room, { recursive: true, force: true });
  }
}

/** Answers every datagram with this guest's name. */
const ECHO = `
const socket = require('node:dgram').createSocket('udp4');
socket.on('message', (_, from) => socket.send(process.argv[1], from.port, from.address, () => {}));
socket.bind(${ECHO_PORT}, () => process.stdout.write('ready'));`;
/** Asks for a name, thrice within a second and a half, and prints it; nothing when nobody answers. */
const CALL = `
const [to, source, port] = process.argv.slice(1);
const socket = require('node:dgram').createSocket('udp4');
socket.on('error', () => {});
socket.on('message', (name) => { process.stdout.write(name); process.exit(0); });
socket.bind(Number(port), source, () => {
  const ask = () => socket.send('who', ${ECHO_PORT}, to, () => {});
  ask(); setTimeout(ask, 500); setTimeout(ask, 1000); setTimeout(() => process.exit(0), 1500);
});`;

const HostInput = s.object({
  networks: HostNetworks,
  stateDirectory: s.string(),
  guests: s.list(
    s.object({ space: s.string(), host: s.oneOf('a', 'b'), vni: s.int(), tap: s.string({ max: 15 }), mac: s.mac(), address: s.ip4() }),
  ),
});

/** What one host's agent does, inside that host's namespace. */
async function beHost(path: string): Promise<void> {
  const { networks, stateDirectory, guests } = parseJson(HostInput, await readFile(path, 'utf8'), path);
  const log = createLog('trial', { level: 'error' });
  assert.equal(await guestNetworks({ stateDirectory, log }).apply(networks), networks.generation);
  const guard = antiSpoofing();

  await guard.admit(
    newId('machine'),
    guests.map(({ tap, mac, address }) => ({ tap, mac, network: 'vxlan', addresses: [address] })),
  );
}

const file = fileURLToPath(import.meta.url);
if (process.argv[1] === file && process.argv[2] !== undefined) await beHost(process.argv[2]);
else if (process.argv[1] === file) {
  test(
    'RL-18 two networks with the same addresses pass between two hosts and do not meet, also among twenty-five; guests cannot send as others',
    tryNetworksBetweenHosts,
  );
}
