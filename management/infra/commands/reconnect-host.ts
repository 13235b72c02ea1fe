import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { hostView } from '../host-views.ts';
import { hostKind } from '../kinds.ts';
import { reconnect } from '../sagas/reconnect.ts';

export const reconnectHost = command({
  name: 'reconnectHost',
  about: 'Cuts the link of a host, so that its agent connects anew, and waits until it is Up.',
  access: 'admin',
  event: { type: 'HOST.RECONNECT', text: 'reconnecting host', resource: 'Host' },
  params: { id: required(p.entity('the host', hostKind, 'operate')) },
  reply: reply.job(hostView),
  run: (context, { id: { id } }) => context.start(reconnect, { hostId: id }, { instance: { type: 'Host', id } }),
});
