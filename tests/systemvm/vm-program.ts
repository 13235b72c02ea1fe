/** For tests: the program of a system VM in the namespace this runs in, with its files in a folder of its own. */
import { createServer } from 'node:net';
import type { SystemVmKindName } from '../../protocol/kinds.ts';
import { routerRole } from '../../router/role.ts';
import { type Machine, systemVmMachine } from '../../systemvm/machine.ts';
import { type Role, serve } from '../../systemvm/serve.ts';

const [kind = '', folder = '', changes = '{}'] = process.argv.slice(2);
const machine: Machine = {
  ...systemVmMachine,
  commandLineFile: `${folder}/cmdline`,
  consoleFile: `${folder}/console`,
  resolvConfFile: `${folder}/resolv.conf`,
  hostsFile: `${folder}/hosts`,
  versionFile: `${folder}/VERSION`,
  runFolder: `${folder}/run`,
  authorizedKeysFile: `${folder}/run/ssh/authorized_keys`,
  sshdPrivilegeFolder: '/run/sshd',
  setHostName: false,
  failurePauseSeconds: 1,
  ...JSON.parse(changes),
};

/** Listens on the port of its kind, and on one that its kind does not name. */
const listeningRole = (name: SystemVmKindName): Role => ({
  kind: {
    ...routerRole.kind,
    kind: name,
    scope: 'zone',
    nics: ['control', 'management', 'public', 'storage'],
    listens: { public: [443], storage: [8210] },
  },
  start: async () => {
    const servers = [443, 8210, 9999, 22].map((port) =>
      createServer((socket) => socket.on('error', () => undefined).end('hello')).listen(port, '0.0.0.0'),
    );
    return {
      handlers: [],
      beat: async () => ({}),
      close: async () => {
        for (const server of servers) server.close();
      },
    };
  },
});

await serve(kind === 'router' ? routerRole : listeningRole(kind === 'console-proxy' ? 'console-proxy' : 'secondary-storage'), machine);
