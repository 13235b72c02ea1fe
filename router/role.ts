import { on } from '../protocol/message.ts';
import { ApplyRouter, ReadRouter } from '../protocol/messages/router.ts';
import type { Role } from '../systemvm/serve.ts';
import { createRouter } from './apply.ts';
import { definition } from './definition.ts';

/** Kernel and daemons are read back this often; between, heartbeats tell what was seen last. */
const READ_BACK_SECONDS = 60;

export const routerRole: Role = {
  kind: definition,
  listensUdp: { guest: [53, 67] },
  start: async ({ machine, processes, log, ring, firewallReady, wantFirewall }) => {
    const router = createRouter({ machine, daemons: processes, log, onPasswordSaved: () => ring('router') });
    firewallReady
      .then(() => router.restore())
      .catch((error: unknown) => log.error({ err: error }, 'could not restore the configuration; management will send it'));
    const timer = setInterval(() => {
      router
        .read()
        .then(({ drift }) => {
          if (drift.length === 0) return;
          log.warn({ drift }, 'the router is not as it was told to be');
          ring('router');
        })
        .catch((error: unknown) => log.error({ err: error }, 'could not read the router back'));
    }, READ_BACK_SECONDS * 1000);
    return {
      handlers: [
        on(ApplyRouter, async (configuration) => {
          // What it forwards and listens on must not be open to more than it should for a moment.
          wantFirewall();
          await firewallReady;
          return await router.apply(configuration);
        }),
        on(ReadRouter, () => router.read()),
      ],
      beat: async () => ({ router: router.known() }),
      close: async () => {
        clearInterval(timer);
        await router.close();
      },
    };
  },
};
