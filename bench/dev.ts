/**
 * `npm run dev` to the first signed reply: from the start of the program to the answer of a signed listZones, and until its zone is ready. The first sample may find
 * neither database nor schema, the others find what it left. `node --import tsx bench/dev.ts [runs]`.
 */
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Client } from '../lab/client.ts';
import { root } from '../lab/installation.ts';
import { CloudError } from '../protocol/errors.ts';
import { machine, percentile } from './link-process.ts';

const runs = Number(process.argv[2] ?? 5);
const TARGET_SECONDS = 5;
const LIMIT_MS = 120_000;

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });

interface Sample {
  readonly replySeconds: number;
  readonly zoneSeconds: number;
}
async function start(): Promise<Sample> {
  const port = await freePort();
  const since = performance.now();
  const child = spawn(process.execPath, [join(root, 'lab/bootstrap.mjs'), 'dev'], {
    cwd: root,
    env: { ...process.env, NEPHOS_DEV_PORT: String(port) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const secondsNow = (): number => Number(((performance.now() - since) / 1000).toFixed(2));
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const late = setTimeout(() => child.kill('SIGTERM'), LIMIT_MS);
  try {
    const found = new Map<string, string>();
    let replySeconds: number | null = null;
    for await (const line of createInterface({ input: child.stdout })) {
      const [, name, value] = /^\s*(apiKey|secretKey)\s+(\S+)$/.exec(line) ?? [];
      if (name !== undefined && value !== undefined) found.set(name, value);
      const [apiKey, secretKey] = [found.get('apiKey'), found.get('secretKey')];
      if (replySeconds === null && apiKey !== undefined && secretKey !== undefined) {
        await new Client(`http://127.0.0.1:${port}/client/api`, { apiKey, secretKey }).call('listZones');
        replySeconds = secondsNow();
      }
      // Ended in the midst of making its zone it would complain.
      if (replySeconds !== null && line.includes(' is ready')) return { replySeconds, zoneSeconds: secondsNow() };
    }
    throw new CloudError('Unavailable', '`npm run dev` has ended before its zone was ready');
  } finally {
    clearTimeout(late);
    child.stdout.resume();
    child.kill('SIGTERM');
    await ended;
  }
}

const samples: Sample[] = [];
for (let run = 0; run < runs; run += 1) samples.push(await start());
const p50 = percentile(
  samples.map(({ replySeconds }) => replySeconds),
  0.5,
);
console.log(JSON.stringify({ machine: machine(), unit: 's', runs, p50, target: TARGET_SECONDS, samples }, null, 2));
process.exit(p50 <= TARGET_SECONDS ? 0 : 1);
