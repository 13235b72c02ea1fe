import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'esbuild';
import { command } from '../command.ts';
import { writeTextWhole } from '../files.ts';
import { type Machine, machineLog, pathInside, powerOn, startIn } from '../machine.ts';
import { exchange, portOpen, waitUntil } from '../probes.ts';
import { topology } from '../topology.ts';

const { address, httpPort, dnsPort, domain } = topology.internet;

/** Every name in the domain is the one server there is; about anything else nobody is asked. */
const dnsConfiguration = (): string =>
  [
    `listen-address=${address}`,
    'bind-interfaces',
    `port=${dnsPort}`,
    'no-resolv',
    'no-hosts',
    'no-poll',
    `local=/${domain}/`,
    `address=/${domain}/${address}`,
    'cache-size=0',
    'pid-file=/run/dnsmasq.pid',
    'log-facility=-',
    '',
  ].join('\n');

/** A question for an address, in the form DNS has over TCP: the length first. */
export const encodeDnsQuestion = (name: string): Buffer => {
  const labels = name.split('.').flatMap((label) => [Buffer.from([label.length]), Buffer.from(label, 'ascii')]);
  const message = Buffer.concat([Buffer.from('4e5001000001000000000000', 'hex'), ...labels, Buffer.from([0, 0, 1, 0, 1])]);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
};

const answersNames = async (): Promise<boolean> => {
  const reply = await exchange(
    address,
    dnsPort,
    encodeDnsQuestion(`www.${domain}`),
    (received) => received.length > 2 && received.length >= received.readUInt16BE(0) + 2,
  );
  return reply?.subarray(-4).join('.') === address;
};

export const powerOnInternet = (machine: Machine, imagesDirectory: string): Promise<'on already' | 'switched on'> =>
  powerOn(machine, async (init) => {
    await mkdir(imagesDirectory, { recursive: true });
    const program = join(machine.directory, 'http.mjs');
    await build({
      entryPoints: [join(import.meta.dirname, 'serve.ts')],
      outfile: program,
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node20',
      logLevel: 'silent',
    });
    await writeTextWhole(pathInside(init, '/run/dnsmasq.conf'), dnsConfiguration());
    await command('dnsmasq', ['--test', `--conf-file=${pathInside(init, '/run/dnsmasq.conf')}`], { timeoutSeconds: 10 });
    await startIn(machine, init, 'dns', 'dnsmasq', ['--keep-in-foreground', '--conf-file=/run/dnsmasq.conf']);
    const options = ['--address', address, '--port', String(httpPort), '--images', imagesDirectory];
    await startIn(machine, init, 'http', process.execPath, [program, ...options]);
    await waitUntil({ about: "the lab's web server", timeoutSeconds: 20, logFile: machineLog(machine, 'http') }, () =>
      portOpen(address, httpPort),
    );
    await waitUntil({ about: "the lab's name server", timeoutSeconds: 20, logFile: machineLog(machine, 'dns') }, answersNames);
  });
