/** Looking at machines from where the cloud's API does not show them: at their host, and from the networks beside them. */
import { eventually } from '../../lab/client.ts';
import { inHost, inNamespace } from '../../lab/lab.ts';
import { CloudError } from '../../protocol/errors.ts';
import { serialLog } from './cloud.ts';

/** Waits for something that a machine says on its serial port. */
export const untilSerial = (hostName: string, machineId: string, expected: RegExp, timeoutSeconds = 30): Promise<string> =>
  eventually(
    `${expected} on the serial port`,
    async () => {
      const text = await serialLog(hostName, machineId);
      return expected.test(text) ? text : null;
    },
    { timeoutSeconds, everyMs: 300 },
  );

/** The device of a machine's NIC on its host. */
export async function tapOf(hostName: string, instanceName: string, mac: string): Promise<string> {
  const { stdout } = await inHost(hostName, 'virsh', ['domiflist', '--', instanceName], { timeoutSeconds: 30 });
  const line = stdout.split('\n').find((each) => each.includes(mac));
  const device = line?.trim().split(/\s+/)[0];
  if (!device) throw new CloudError('NotFound', `${instanceName} has no NIC ${mac}:\n${stdout}`);
  return device;
}

const CONNECT = `
const [host, port] = process.argv.slice(1);
const socket = require('node:net').connect({ host, port: Number(port) });
const end = (code) => { socket.destroy(); process.exit(code); };
socket.on('connect', () => end(0)).on('error', () => end(1)).setTimeout(2500, () => end(1));
`;

/** Whether a TCP port takes connections, seen from inside a namespace of the lab. */
export async function portOpenFrom(namespace: string, address: string, port: number): Promise<boolean> {
  const { code } = await inNamespace(namespace, process.execPath, ['-e', CONNECT, address, String(port)], {
    timeoutSeconds: 15,
    acceptedCodes: [1],
  });
  return code === 0;
}
