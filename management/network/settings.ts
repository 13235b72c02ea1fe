import { setting } from '../core/settings.ts';

export const guestMtu = setting.integer('network.guest.mtu', 1450, {
  min: 576,
  max: 9000,
  scopes: ['global', 'zone'],
  category: 'Network',
  about: 'MTU of new guest networks: that of the physical network less 50 bytes for VXLAN.',
});
export const networkSettings = [guestMtu];
