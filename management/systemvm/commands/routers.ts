import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { destroySystemVmSaga } from '../sagas/destroy-system-vm.ts';
import { rebootSystemVmSaga } from '../sagas/reboot-system-vm.ts';
import { startSystemVmSaga } from '../sagas/start-system-vm.ts';
import { stopSystemVmSaga } from '../sagas/stop-system-vm.ts';
import { routerKind, routerView } from '../views.ts';

const instance = (id: string) => ({ instance: { type: 'DomainRouter', id } });
const forced = p.boolean('pull the plug instead of pressing the power button');

export const startRouter = command({
  name: 'startRouter',
  about: 'Starts a stopped router.',
  access: 'domainAdmin',
  event: { type: 'ROUTER.START', text: 'starting router', resource: 'DomainRouter' },
  params: { id: required(p.entity('the router', routerKind, 'operate')) },
  reply: reply.job(routerView),
  run: (context, { id: { id } }) => context.start(startSystemVmSaga, { id, isNew: false }, instance(id)),
});

export const stopRouter = command({
  name: 'stopRouter',
  about: 'Stops a running router; it stays stopped until it is started.',
  access: 'domainAdmin',
  event: { type: 'ROUTER.STOP', text: 'stopping router', resource: 'DomainRouter' },
  params: { id: required(p.entity('the router', routerKind, 'operate')), forced },
  reply: reply.job(routerView),
  run: (context, { id: { id }, forced: force = false }) => context.start(stopSystemVmSaga, { id, force }, instance(id)),
});

export const rebootRouter = command({
  name: 'rebootRouter',
  about: 'Stops a router and starts it again.',
  access: 'domainAdmin',
  event: { type: 'ROUTER.REBOOT', text: 'rebooting router', resource: 'DomainRouter' },
  params: { id: required(p.entity('the router', routerKind, 'operate')), forced },
  reply: reply.job(routerView),
  run: (context, { id: { id }, forced: force = false }) => context.start(rebootSystemVmSaga, { id, force }, instance(id)),
});

export const destroyRouter = command({
  name: 'destroyRouter',
  about: 'Ends a router for good. Where one is wanted another takes its place.',
  access: 'domainAdmin',
  event: { type: 'ROUTER.DESTROY', text: 'destroying router', resource: 'DomainRouter' },
  params: { id: required(p.entity('the router', routerKind, 'operate')) },
  reply: reply.job(routerView),
  run: (context, { id: { id } }) => context.start(destroySystemVmSaga, { id }, instance(id)),
});
