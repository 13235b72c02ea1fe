import type { UserData } from '../../../../protocol/network-services/user-data.ts';
import type { RouterRows } from '../rows.ts';

export const compileUserData = ({ guests, publicAddress }: RouterRows): UserData => ({
  guests: guests.map(({ address, about, password }) => ({
    address,
    metadata: {
      ...about.metadata,
      'local-ipv4': address,
      'local-hostname': about.hostName,
      ...(publicAddress ? { 'public-ipv4': publicAddress, 'public-hostname': publicAddress } : {}),
    },
    userData: about.userData ?? '',
    password: password ? { generation: about.passwordGeneration, text: password.reveal() } : null,
  })),
});
