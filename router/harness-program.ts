/** For tests: the router without a link; asks come as lines on standard input, answers go as lines to standard output. */
import { createInterface } from 'node:readline';
import { pino } from 'pino';
import { RouterConfiguration } from '../protocol/messages/router.ts';
import { parse } from '../protocol/schema.ts';
import { systemVmMachine } from '../systemvm/machine.ts';
import { processes } from '../systemvm/processes.ts';
import { createRouter } from './apply.ts';

const runFolder = process.argv[2] ?? '';
const log = pino({ level: process.env['NEPHOS_LOG_LEVEL'] ?? 'fatal' }, pino.destination(2));
let bells = 0;
const daemons = processes({ runFolder, log });
const router = createRouter({ machine: { ...systemVmMachine, runFolder }, daemons, log, onPasswordSaved: () => bells++ });

const answers: Record<string, (body: unknown) => Promise<unknown>> = {
  apply: (body) => router.apply(parse(RouterConfiguration, body, 'configuration')),
  read: () => router.read(),
  bells: async () => bells,
  pid: async (body) => daemons.pid(String(body)),
  residentMib: async () => Math.round(process.memoryUsage.rss() / 1_048_576),
};

await router.restore();
process.stdout.write('ready\n');
for await (const line of createInterface({ input: process.stdin })) {
  const { what, body } = JSON.parse(line);
  const answer = await answers[what]?.(body).then(
    (value) => ({ answer: value }),
    (error: unknown) => ({ error: String(error) }),
  );
  process.stdout.write(`${JSON.stringify(answer ?? { error: `${what} is not known` })}\n`);
}
await router.close();
await daemons.close();
