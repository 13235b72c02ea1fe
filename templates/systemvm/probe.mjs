// Payload for checks: tells over the serial port what the machine it runs in looks like, in place of a role's program.
import { execFileSync, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { startupSnapshot } from 'node:v8';

const attempt = (program, ...words) => {
  try {
    return execFileSync(program, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    return `failed: ${error.message}`;
  }
};
const say = (name, value) => process.stdout.write(`PROBE ${name} ${JSON.stringify(value)}\n`);
const uptimeSeconds = () => Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]);
const kibOf = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]);

const MODULES = ['xfrm_user', 'esp4', '8021q', 'wireguard', 'nfsv4', 'nf_tables', 'nf_conntrack', 'nft_flow_offload', 'nft_nat', 'vxlan'];

function checkSshd(tries) {
  const listening = attempt('ss', '--listening', '--tcp', '--numeric', '--no-header');
  if (listening === '' && tries > 0) return setTimeout(checkSshd, 200, tries - 1);
  const address = /\s(\S+):3922\s/.exec(listening)?.[1]?.replace('0.0.0.0', '*');
  const key = attempt('cat', '/etc/ssh/ssh_host_ed25519_key.pub').split(' ')[0];
  say('sshd', `${key} ${address}:3922`);
}

function probe() {
  say('started', { uptimeSeconds: uptimeSeconds(), node: process.version });
  say(
    'snapshot',
    process.execArgv.some((word) => word.includes('snapshot')),
  );
  say('osRelease', readFileSync('/etc/os-release', 'utf8'));
  say('listening', attempt('ss', '--listening', '--tcp', '--udp', '--numeric', '--no-header'));
  say('environment', Object.keys(process.env).sort());
  say(
    'shadow',
    readFileSync('/etc/shadow', 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.split(':').slice(0, 2)),
  );
  say('links', readdirSync('/sys/class/net').sort());
  say('memoryUsedKib', kibOf('MemTotal') - kibOf('MemAvailable'));
  say('modules', Object.fromEntries(MODULES.map((name) => [name, attempt('modprobe', '--', name)])));
  say('wireguardLink', attempt('ip', 'link', 'add', 'wg0', 'type', 'wireguard'));
  say(
    'buildTools',
    readdirSync('/usr/bin').filter((name) => /^(npm|gcc.*|cc|c\+\+|make|as|ld)$/.test(name)),
  );
  const sshd = spawn('/usr/lib/nephos/sshd', [], { stdio: 'ignore' });
  sshd.on('error', (error) => say('sshd', error.message));
  checkSshd(50);
  // Keeps the program alive, as a role's would be.
  setInterval(() => {}, 1000);
}

if (startupSnapshot.isBuildingSnapshot()) startupSnapshot.setDeserializeMainFunction(probe);
else probe();
