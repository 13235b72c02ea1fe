import { type Role, serve } from '../systemvm/serve.ts';
import { definition } from './definition.ts';
import { openConsoleProxy } from './proxy.ts';

export const role: Role = {
  kind: definition,
  start: async ({ bootArguments, log, ring, networkReady }) => {
    const proxy = openConsoleProxy({
      log,
      ring: () => ring('console'),
      managementAddresses: bootArguments.servers.map((server) => server.slice(0, server.lastIndexOf(':'))),
      ports: { http: 80, https: 443 },
      networkReady,
    });
    return { handlers: proxy.handlers, beat: proxy.beat, close: proxy.close };
  },
};

// Not awaited: the program is also run as CommonJS, from a snapshot, where nothing can be awaited at the top level.
void serve(role);
