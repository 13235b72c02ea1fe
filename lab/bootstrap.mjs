/**
 * `node lab/bootstrap.mjs <task>`: the door of a fresh clone. It uses nothing but Node, brings the npm packages when they are missing or
 * other than the lock file says, and then runs the task's own program.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** `root`: the task makes network namespaces, mounts and machines. `args` stand before what the caller adds. */
const tasks = {
  up: { program: 'lab/up.ts', root: true },
  status: { program: 'lab/status.ts' },
  down: { program: 'lab/down.ts', root: true },
  dev: { program: 'tests/cloud/dev.ts' },
  check: { program: 'tests/run.ts', args: ['types', 'lint', 'unit'] },
  test: { program: 'tests/run.ts', root: true },
  e2e: { program: 'tests/run.ts', args: ['parts', 'e2e'], root: true },
  bench: { program: 'bench/run.ts' },
  features: { program: 'tools/features.ts' },
  build: { program: 'tools/build.ts' },
  'api-docs': { program: 'tools/api-docs.ts' },
  migration: { program: 'tools/migration.ts' },
};

const fail = (...lines) => {
  for (const line of lines) console.error(line);
  process.exit(1);
};

const isAtLeast = (version, wanted) => {
  const numbers = version.split('.').map(Number);
  for (const [index, least] of wanted.entries()) {
    if (numbers[index] !== least) return numbers[index] > least;
  }
  return true;
};

const readPackages = (path) => JSON.parse(readFileSync(join(root, path), 'utf8')).packages;

/** npm writes what it installed into a lock file of its own, as the very last thing: a run that was cut short left none. */
const packagesAreInstalled = () => {
  if (!existsSync(join(root, 'node_modules/.package-lock.json'))) return false;
  const wanted = readPackages('package-lock.json');
  const installed = readPackages('node_modules/.package-lock.json');
  return Object.entries(wanted).every(
    ([path, { version, optional, devOptional, peer }]) =>
      path === '' || (installed[path] === undefined ? Boolean(optional || devOptional || peer) : installed[path].version === version),
  );
};

/** Resolves to the exit code. A signal from outside goes to the program; the terminal's own reach it anyway. */
const run = (command, args, options = {}) =>
  new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: 'inherit', ...options });
    const forward = (signal) => child.kill(signal);
    const ignore = () => undefined;
    process.on('SIGTERM', forward);
    process.on('SIGHUP', forward);
    process.on('SIGINT', ignore);
    child.on('error', (error) => {
      console.error(`${command} could not be started: ${error.message}`);
      resolve(1);
    });
    child.on('exit', (code, signal) => {
      process.off('SIGTERM', forward);
      process.off('SIGHUP', forward);
      process.off('SIGINT', ignore);
      resolve(code ?? 128 + (signal ? constants.signals[signal] : 0));
    });
  });

const installPackages = async () => {
  const started = Date.now();
  process.stdout.write('… npm packages\n');
  // No package needs its install script: what some would compile they do without. Run by npm, this very npm does it; otherwise the one in the path.
  const npm = process.env.npm_execpath?.endsWith('.js') ? [process.execPath, process.env.npm_execpath] : ['npm'];
  const code = await run(npm[0], [...npm.slice(1), 'ci', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (code !== 0) {
    fail(
      `✗ npm ci failed after ${Math.round((Date.now() - started) / 1000)} s`,
      '    what to do: check that the npm registry can be reached, then run the same command again',
    );
  }
  console.log(`✓ npm packages           ${((Date.now() - started) / 1000).toFixed(1)} s`);
};

const [name = '', ...rest] = process.argv.slice(2);
const task = Object.hasOwn(tasks, name) ? tasks[name] : undefined;
if (!task) fail(`usage: node lab/bootstrap.mjs ${Object.keys(tasks).join(' | ')}`);
if (!isAtLeast(process.versions.node, [20, 19])) {
  fail(
    `Nephos needs Node.js 20.19 or newer; this is ${process.versions.node}.`,
    '    what to do: install Node 20 and run the same command again',
  );
}
if (task.root && process.getuid?.() !== 0) fail(`npm run ${name} needs root.`, '    what to do: run the same command as root');
if (!existsSync(join(root, task.program))) fail(`${task.program} is missing from this clone.`);
if (!packagesAreInstalled()) await installPackages();
const tsx = pathToFileURL(createRequire(join(root, 'package.json')).resolve('tsx')).href;
process.exit(await run(process.execPath, ['--import', tsx, join(root, task.program), ...(task.args ?? []), ...rest]));
