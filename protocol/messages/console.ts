import { message } from '../message.ts';
import { type Infer, s } from '../schema.ts';

export const ConsoleTarget = s.object({
  host: s.ip4(),
  port: s.int({ min: 1, max: 65_535 }),
  password: s.string({ min: 8, max: 8 }),
});
/** The whole of what a console proxy should be. */
export const ConsoleProxyConfiguration = s.object({
  generation: s.int(),
  sessionsMax: s.int({ min: 1, max: 10_000 }),
  idleTimeoutSeconds: s.int({ min: 10, max: 86_400 }),
  /** Serves https with this certificate where given, else plain http. PEM. */
  certificate: s.nullable(s.object({ chain: s.text({ max: 65_536 }), key: s.text({ max: 16_384 }) })),
});
export type ConsoleProxyConfiguration = Infer<typeof ConsoleProxyConfiguration>;
export const ApplyConsoleProxy = message({
  name: 'consoleProxy.apply',
  ask: ConsoleProxyConfiguration,
  answer: s.object({ generation: s.int() }),
  patience: 'normal',
});

/** Tells a proxy of a session before the browser comes. The token itself never travels here, only its SHA-256. */
export const OpenConsole = message({
  name: 'console.open',
  ask: s.object({
    sessionId: s.id('consoleSession'),
    tokenSha256: s.sha256(),
    machineId: s.id('machine'),
    /** Shown as the page's title. */
    title: s.string({ max: 255 }),
    target: ConsoleTarget,
    /** The URL can be used once, until then. */
    expiresAt: s.time(),
    /** When set, only this client may use it. */
    clientAddress: s.nullable(s.string({ max: 45 })),
  }),
  answer: s.object({}),
  patience: 'fast',
});
export const CloseConsole = message({
  name: 'console.close',
  ask: s.object({ sessionId: s.id('consoleSession'), reason: s.string({ max: 200 }) }),
  answer: s.object({}),
  patience: 'fast',
});
export const consoleSessionStates = ['Waiting', 'Connected', 'Ended', 'Expired'] as const;
export const ListConsoles = message({
  name: 'console.list',
  ask: s.object({}),
  answer: s.object({
    sessions: s.list(
      s.object({
        sessionId: s.id('consoleSession'),
        state: s.oneOf(...consoleSessionStates),
        clientAddress: s.nullable(s.string({ max: 45 })),
        acquiredAt: s.nullable(s.time()),
        endedAt: s.nullable(s.time()),
      }),
    ),
  }),
  patience: 'fast',
});
