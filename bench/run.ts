/**
 * `npm run bench`: lists the benchmarks; `npm run bench -- <name> [arguments]` runs one. Each prints the machine, its sizes and raw samples.
 * With `--keep` what it printed becomes its page under `docs/benchmarks/`, whether the target was met or not.
 */
import { spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

/** THE LIST of benchmarks: file and what it measures. */
const benchmarks: Readonly<Record<string, { readonly file: string; readonly about: string }>> = {
  agents: { file: 'agents.ts', about: '1,000 agents on one management server: idle cost, and how soon all are back after its restart' },
  management: {
    file: 'management.ts',
    about: '1,000 simulated hosts on a whole management server with its database: idle cost, return after its restart, memory',
  },
  deploy: {
    file: 'deploy.ts',
    about: 'what management itself adds to the deployment of a second machine in a network; with --lab on real hosts',
  },
  dev: { file: 'dev.ts', about: 'from the start of `npm run dev` to the first signed reply' },
  'second-up': { file: 'second-up.ts', about: 'on the lab: down, up again until the first machine answers, and up when all is up' },
  'boot-system-vm': {
    file: 'boot-system-vm.ts',
    about: 'on the lab: a system VM to its agent Up, beside the bare boot of the same kernel and template',
  },
  memory: { file: 'memory.ts', about: 'on the lab: resident memory of the management server and of the agents in system VMs' },
  'system-vm': {
    file: 'system-vm.ts',
    about: 'without a lab: a router to its agent Up beside its bare boot, its memory, and what one more guest takes it',
  },
  'half-open': { file: 'half-open.ts', about: 'how long a new agent takes to join while others hold 1,000 half-open connections' },
  'console-sessions': { file: 'console-sessions.ts', about: 'console sessions per core, added latency, and what is left over afterwards' },
};

const [name, ...given] = process.argv.slice(2);
const keep = given.includes('--keep');
const rest = given.filter((each) => each !== '--keep');

/** What else the machine did tells how far the figures can be believed, so its load before the run stands beside them. */
async function writePage(about: string, printed: string, load: readonly number[], met: boolean): Promise<void> {
  const directory = join(import.meta.dirname, '../docs/benchmarks');
  const command = ['npm run bench --', name, ...rest].join(' ');
  const title = [name, ...rest.filter((each) => each.startsWith('--')).map((each) => each.slice(2))].join('-');
  const page = [
    `# ${title}`,
    '',
    `${about[0]?.toUpperCase()}${about.slice(1)}.`,
    '',
    `\`${command}\`, ${new Date().toISOString().slice(0, 10)}; the target was ${met ? 'met' : 'missed'}. Load of the machine`,
    `before the run, over 1, 5 and 15 minutes: ${load.map((each) => each.toFixed(1)).join(', ')}.`,
    '',
    '```json',
    printed.trim(),
    '```',
    '',
  ];
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, `${title}.md`), page.join('\n'));
}

const chosen = name === undefined ? undefined : Object.hasOwn(benchmarks, name) ? benchmarks[name] : undefined;
if (chosen) {
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
  const load = loadavg();
  const child = spawn(process.execPath, ['--import', tsx, join(import.meta.dirname, chosen.file), ...rest], {
    stdio: ['inherit', 'pipe', 'inherit'],
  });
  let printed = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    printed += text;
    process.stdout.write(text);
  });
  child.once('close', async (code) => {
    // One that broke off has measured nothing.
    if (keep && printed.trim().endsWith('}')) await writePage(chosen.about, printed, load, code === 0);
    process.exit(code ?? 1);
  });
} else {
  if (name !== undefined) console.error(`there is no benchmark ${name}`);
  const width = Math.max(...Object.keys(benchmarks).map((each) => each.length));
  for (const [each, { about }] of Object.entries(benchmarks)) console.log(`  ${each.padEnd(width)}  ${about}`);
  process.exit(name === undefined ? 0 : 2);
}
