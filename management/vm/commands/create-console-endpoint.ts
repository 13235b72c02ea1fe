import { CloudError } from '../../../protocol/errors.ts';
import { newId } from '../../../protocol/ids.ts';
import { call } from '../../../protocol/message.ts';
import { OpenConsole } from '../../../protocol/messages/console.ts';
import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { newToken, sha256Hex } from '../../core/secrets.ts';
import { type Fields, f, view } from '../../core/view.ts';
import { hosts } from '../../infra/index.ts';
import { machines } from '../../machine/index.ts';
import { chooseProxy, consoleUrl } from '../consoles.ts';
import { consoleSessions } from '../entities.ts';
import { consoleSourceCheck } from '../settings.ts';
import { vmKind } from '../views.ts';

/** A console URL works for this long, and once. */
const URL_SECONDS = 120;

interface Endpoint {
  readonly success: boolean;
  readonly url: string;
  readonly websocket: { readonly token: string; readonly host: string; readonly port: string; readonly path: string };
}
const websocketFields: Fields<Endpoint['websocket']> = {
  token: f.string('the one-time token', (row) => row.token),
  host: f.string('the host of the websocket', (row) => row.host),
  port: f.string('the port of the websocket', (row) => row.port),
  path: f.string('the path of the websocket', (row) => row.path),
};
const endpointView = view<Endpoint>('CreateConsoleEndpointResponse', 'consoleendpoint', {
  success: f.boolean('true if the console can be opened', (row) => row.success),
  url: f.string('the URL to open in a browser, once', (row) => row.url),
  websocket: f.object('for clients that speak RFB themselves', (row) => row.websocket, websocketFields),
});

export const createConsoleEndpoint = command({
  name: 'createConsoleEndpoint',
  about: "Gives a URL that opens a running virtual machine's console in a browser, once and within two minutes.",
  access: 'user',
  event: { type: 'VM.CONSOLE', text: 'opening the console of virtual machine', resource: 'VirtualMachine' },
  params: { virtualmachineid: required(p.entity('the virtual machine', vmKind, 'operate')) },
  reply: reply.one(endpointView),
  run: async (context, { virtualmachineid: vm }) => {
    const { db, secrets, agents, caller, requestId, settings, session } = context;
    const machine = await db.read.findOneByOrFail(machines, { id: vm.id });
    const host = machine.hostId ? await db.read.findOneBy(hosts, { id: machine.hostId }) : null;
    if (machine.state !== 'Running' || !host || !machine.vncPort || !machine.vncPassword) {
      throw new CloudError('WrongState', `a virtual machine that is ${machine.state} has no console; start it first`);
    }
    const token = newToken(32);
    const tokenSha256 = sha256Hex(token);
    const expiresAt = new Date(Date.now() + URL_SECONDS * 1000);
    const sessionId = newId('consoleSession');
    const proxy = await db.transact(async (tx) => {
      const chosen = await chooseProxy(tx, context, machine);
      await tx.insert(consoleSessions, {
        id: sessionId,
        accountId: vm.accountId,
        domainId: vm.domainId,
        userId: caller.userId,
        machineId: machine.id,
        hostId: host.id,
        proxyId: chosen.id,
        tokenSha256,
        state: 'Waiting',
        clientAddress: null,
        createdAt: new Date(),
        expiresAt,
        acquiredAt: null,
        endedAt: null,
      });
      return chosen;
    });
    const ask = {
      sessionId,
      tokenSha256,
      machineId: machine.id,
      title: vm.displayName,
      target: { host: host.address, port: machine.vncPort, password: secrets.open(machine.vncPassword).reveal() },
      expiresAt: expiresAt.getTime(),
      clientAddress: settings.get(consoleSourceCheck, { zone: machine.zoneId }) ? (session?.clientAddress ?? null) : null,
    };
    try {
      await agents.ask({ kind: 'console-proxy', id: proxy.id }, call(OpenConsole, ask), { requestId, linkGraceSeconds: 2 });
    } catch (error) {
      await db.transact((tx) => tx.update(consoleSessions, { id: sessionId }, { state: 'Ended', endedAt: new Date() }));
      throw error;
    }
    return { success: true, ...consoleUrl(context, proxy, token) };
  },
});
