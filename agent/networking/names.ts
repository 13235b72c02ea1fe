/** Names of the network devices the agent makes; Linux allows 15 characters. */
import type { NicSpec } from '../../protocol/messages/machine.ts';
import type { Id } from '../../protocol/schema.ts';

export const controlBridge = 'cloud0';
export const vxlanBridge = (vni: number): string => `brvx-${vni}`;
export const vxlanDevice = (vni: number): string => `vxlan${vni}`;
/** The id's last 12 digits are its random ones; its first 12 are a time, which NICs made together share. */
export const tapDevice = (nicId: Id<'nic'>): string => `t${nicId.slice(-12)}`;

export function bridgeOf(attachment: NicSpec['attachment']): string {
  switch (attachment.kind) {
    case 'control':
      return controlBridge;
    case 'bridge':
      return attachment.bridge;
    case 'vxlan':
      return vxlanBridge(attachment.vni);
  }
}
