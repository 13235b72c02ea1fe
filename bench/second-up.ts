/**
 * The second `up` on the real lab: the cloud is taken down, which keeps its data, and up again, until the first machine answers: it has
 * booted anew, has its address from its router and runs what it is told. Then `up` once more, which finds all up.
 * `node --import tsx bench/second-up.ts [runs]`; needs what `npm run up` has made.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { eventually } from '../lab/client.ts';
import { root } from '../lab/installation.ts';
import { CloudError } from '../protocol/errors.ts';
import { labCloud, serialOf } from './lab.ts';
import { machine } from './link-process.ts';

const runs = Number(process.argv[2] ?? 1);
const TARGET_SECONDS = 90;
const ANSWER_SECONDS = 300;
/** The guest's own words that it has its address from the router, its data from the metadata server, and runs its services. */
const ANSWERS = [/NEPHOS-GUEST lease-/, /NEPHOS-GUEST metadata /, /NEPHOS-GUEST ready/];

const task = (name: 'up' | 'down'): Promise<void> =>
  new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(root, 'lab/bootstrap.mjs'), name], { cwd: root, stdio: ['ignore', 2, 2] });
    child.once('exit', (code) => (code === 0 ? resolve() : reject(new CloudError('Internal', `npm run ${name} has failed`, { code }))));
  });
const timed = async (work: () => Promise<unknown>): Promise<number> => {
  const since = performance.now();
  await work();
  return Number(((performance.now() - since) / 1000).toFixed(1));
};

await labCloud();
const samples: { downSeconds: number; upSeconds: number; answersSeconds: number; upAgainSeconds: number }[] = [];
for (let run = 0; run < runs; run += 1) {
  const { admin, vmId } = await labCloud();
  const words = async (): Promise<string> => {
    // Its tenant is not told on which host it is.
    const [vm] = await admin.list('listVirtualMachines', { id: vmId });
    return vm?.hostname === undefined ? '' : await serialOf(vm);
  };
  // Each boot has a log of its own, so what is in it now is of this boot unless it is what was there before.
  const before = await words();
  const downSeconds = await timed(() => task('down'));
  let upSeconds = 0;
  const answersSeconds = await timed(async () => {
    upSeconds = await timed(() => task('up'));
    const answers = async (): Promise<boolean> => {
      const text = await words();
      return text !== before && ANSWERS.every((word) => word.test(text));
    };
    await eventually('the first machine answers', answers, { timeoutSeconds: ANSWER_SECONDS, everyMs: 300 });
  });
  samples.push({ downSeconds, upSeconds, answersSeconds, upAgainSeconds: await timed(() => task('up')) });
}
const worst = Math.max(...samples.map(({ answersSeconds }) => answersSeconds));
console.log(JSON.stringify({ machine: machine(), unit: 's', target: TARGET_SECONDS, worst, samples }, null, 2));
process.exit(worst <= TARGET_SECONDS ? 0 : 1);
