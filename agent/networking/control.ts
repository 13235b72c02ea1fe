/** The control network: a bridge without an uplink, by which the host reaches its own system VMs, and routers reach the relay. */
import { type BatchLine, changeLinks, readAddresses, readLinks } from './links.ts';
import { controlBridge } from './names.ts';

export async function ensureControlBridge(controlAddress: string): Promise<void> {
  const bridge = (await readLinks()).find(({ name }) => name === controlBridge);
  const lines: BatchLine[] = [];
  if (!bridge) {
    lines.push(['link', 'add', 'name', controlBridge, 'type', 'bridge', 'stp_state', 0, 'forward_delay', 0]);
    lines.push(['link', 'set', 'dev', controlBridge, 'addrgenmode', 'none']);
  }
  const addresses = bridge ? await readAddresses(controlBridge) : [];
  for (const address of addresses) {
    if (address !== controlAddress) lines.push(['address', 'delete', address, 'dev', controlBridge]);
  }
  if (!addresses.includes(controlAddress)) lines.push(['address', 'add', controlAddress, 'dev', controlBridge]);
  if (!bridge?.up) lines.push(['link', 'set', 'dev', controlBridge, 'up']);
  await changeLinks('set up the control network', lines);
}
