/**
 * `npm test`: everything that is checked, in the order in which a failure is cheapest to learn. `tests/run.ts types lint …` runs some
 * phases, `--file <part of a path>` some files, `--keep` leaves the tests' database running for the next run.
 */
import { readdir } from 'node:fs/promises';
import { relative } from 'node:path';
import { parseArgs } from 'node:util';
import { varDirectory } from '../lab/installation.ts';
import { ensurePackages, type PackageGroup, packageGroups } from '../lab/packages.ts';
import { reporter } from '../lab/progress.ts';
import { wipeTestServices } from '../lab/services.ts';
import { buildGuestTemplates } from '../templates/guest/catalogue.ts';
import { buildSystemVmTemplate } from '../templates/systemvm/build.ts';
import { clearReports, logPath, type Report, repository, type TestResult } from './report.ts';
import { runCheck, runTestFile } from './run-file.ts';

const BUDGET_MINUTES = 44;
/** The end of the run itself: stopping the database, the last lines. */
const RESERVE_SECONDS = 30;
const WORKERS_MAX = 2;

interface Phase {
  readonly name: string;
  readonly about: string;
  readonly packages: boolean;
  /** Its machines are made from templates; these are built before, as they would be before `up`. */
  readonly templates?: boolean;
  /** How many files at a time. */
  readonly workers: number;
  readonly timeoutSeconds: number;
  readonly program?: { readonly bin: string; readonly args: readonly string[] };
  readonly holds?: (file: string) => boolean;
}

const under = (folder: string) => (file: string) => file.startsWith(`${folder}/`);
const isTest = (file: string): boolean => file.endsWith('.test.ts');
const isEndToEnd = (file: string): boolean => file.endsWith('.e2e.ts');
const isSagas = (file: string): boolean => /^tests\/sagas(\.|-|\/)/.test(file);
const isUnit = (file: string): boolean =>
  isTest(file) && (!under('tests')(file) || under('tests/tidy')(file) || under('tests/contract')(file));

/** In this order. Every file of tests belongs to exactly one. */
export const phases: readonly Phase[] = [
  {
    name: 'types',
    about: 'types',
    packages: false,
    workers: 1,
    timeoutSeconds: 300,
    program: { bin: 'typescript/bin/tsc', args: ['--noEmit', '--pretty', 'false'] },
  },
  {
    name: 'lint',
    about: 'lint and format',
    packages: false,
    workers: 1,
    timeoutSeconds: 120,
    program: { bin: '@biomejs/biome/bin/biome', args: ['ci', '--colors=off', '--error-on-warnings'] },
  },
  { name: 'unit', about: 'unit, tidy and contract', packages: true, workers: WORKERS_MAX, timeoutSeconds: 240, holds: isUnit },
  {
    name: 'cloud',
    about: 'simulated cloud',
    packages: true,
    workers: WORKERS_MAX,
    timeoutSeconds: 420,
    holds: (file) => isTest(file) && under('tests')(file) && !isUnit(file) && !isSagas(file),
  },
  {
    name: 'sagas',
    about: 'sagas at every step',
    packages: true,
    workers: 1,
    timeoutSeconds: 900,
    holds: (file) => isTest(file) && isSagas(file),
  },
  {
    name: 'parts',
    about: 'single parts on the real machine',
    packages: true,
    workers: 1,
    timeoutSeconds: 420,
    holds: (file) => isEndToEnd(file) && !under('tests/e2e')(file),
  },
  {
    name: 'e2e',
    about: 'end to end',
    packages: true,
    templates: true,
    workers: 1,
    timeoutSeconds: 1080,
    holds: (file) => isEndToEnd(file) && under('tests/e2e')(file),
  },
];

const skippedFolders = new Set(['node_modules', 'var', 'out', '.git']);
const testFiles = async (folder = repository): Promise<string[]> => {
  const entries = await readdir(folder, { withFileTypes: true });
  const found = await Promise.all(
    entries.map(async (entry): Promise<string[]> => {
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory()) return skippedFolders.has(entry.name) ? [] : testFiles(path);
      return isTest(entry.name) || isEndToEnd(entry.name) ? [relative(repository, path)] : [];
    }),
  );
  return found.flat().sort();
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { file: { type: 'string' }, keep: { type: 'boolean', default: false } },
});
const unknown = positionals.filter((name) => !phases.some((phase) => phase.name === name));
if (unknown.length > 0) {
  console.error(`there is no phase ${unknown.join(', ')}; there are ${phases.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}
const chosen = positionals.length === 0 ? phases : phases.filter(({ name }) => positionals.includes(name));

const started = performance.now();
const secondsSince = (then: number): number => (performance.now() - then) / 1000;
const running = new AbortController();
const budget = setTimeout(
  () => running.abort(`the run's ${BUDGET_MINUTES} minutes are over`),
  (BUDGET_MINUTES * 60 - RESERVE_SECONDS) * 1000,
);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => running.abort(`stopped by ${signal}`));

const counted = (reports: readonly Report[]): { passed: number; failed: number } => {
  const results = reports.flatMap(({ tests }) => tests);
  const passed = results.filter(({ state }) => state === 'passed').length;
  // What was skipped or left for later proves nothing, so it counts as failed.
  return { passed, failed: results.length - passed };
};

const indented = (text: string): string => text.replace(/^/gm, '    ');
const complain = (report: Report, { title, state, error }: TestResult): void => {
  const words = state === 'failed' ? (error ?? '') : `was ${state}; every test must run`;
  const shown = words.split('\n').slice(0, 24).join('\n');
  console.log(`✗ ${report.file === title ? title : `${report.file} › ${title}`}\n${indented(shown)}`);
  console.log(`    log: ${relative(repository, logPath(report.phase, report.file))}`);
};

const runPhase = async (phase: Phase, files: readonly string[]): Promise<Report[]> => {
  const limits = { timeoutSeconds: phase.timeoutSeconds, signal: running.signal };
  if (phase.program) return [await runCheck(phase.name, phase.name, phase.program.bin, phase.program.args, limits)];
  const waiting = files.filter((file) => phase.holds?.(file));
  const reports: Report[] = [];
  const work = async (): Promise<void> => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) reports.push(await runTestFile(phase.name, file, limits));
  };
  await Promise.all(Array.from({ length: phase.workers }, work));
  return reports.sort((a, b) => (a.file < b.file ? -1 : 1));
};

/** Builds the templates, or finds them built; the step itself says what failed. */
const isPrepared = (): Promise<boolean> =>
  reporter()
    .run('templates', async (bar) => {
      await buildSystemVmTemplate({ varDir: varDirectory, onProgress: ({ fraction, step }) => bar.update(fraction * 0.6, step) });
      await buildGuestTemplates({
        varDir: varDirectory,
        which: ['tiny'],
        onProgress: ({ fraction, step }) => bar.update(0.6 + fraction * 0.4, step),
      });
      return true;
    })
    .catch(() => false);

const report = async (): Promise<{ passed: number; failed: number }> => {
  // A run of some files replaces their reports alone.
  if (values.file === undefined) await clearReports(chosen.map(({ name }) => name));
  const total = { passed: 0, failed: 0 };
  if (chosen.some(({ packages }) => packages)) {
    const groups = Object.keys(packageGroups) as PackageGroup[];
    try {
      await reporter().run('packages', (bar) =>
        ensurePackages({ varDir: `${repository}/var`, groups, onProgress: (fraction, note) => bar.update(fraction, note) }),
      );
    } catch {
      // The step has said what failed; without the packages most tests would only repeat it.
      return { passed: 0, failed: 1 };
    }
  }
  const files = (await testFiles()).filter((file) => values.file === undefined || file.includes(values.file));
  for (const phase of chosen) {
    if (values.file !== undefined && (phase.program || !files.some((file) => phase.holds?.(file)))) continue;
    if (phase.templates && !(await isPrepared())) {
      total.failed += 1;
      continue;
    }
    const since = performance.now();
    const reports = await runPhase(phase, files);
    const { passed, failed } = counted(reports);
    total.passed += passed;
    total.failed += failed;
    for (const each of reports) for (const test of each.tests) if (test.state !== 'passed') complain(each, test);
    const count = phase.program
      ? ''
      : `${String(reports.length).padStart(4)} files ${String(passed).padStart(5)} passed ${String(failed).padStart(3)} failed`;
    const took = `${secondsSince(since).toFixed(1)} s`;
    console.log(`${failed === 0 ? '✓' : '✗'} ${phase.about.padEnd(34)}${took.padStart(9)} ${count}`.trimEnd());
  }
  return total;
};

const total = await report();
clearTimeout(budget);
if (!values.keep && chosen.some(({ packages }) => packages)) {
  await wipeTestServices().catch((error: unknown) => console.error('the tests’ database could not be removed:', error));
}
if (running.signal.aborted) {
  console.log(`✗ ${String(running.signal.reason)}; what had not run counts as failed`);
  total.failed = Math.max(1, total.failed);
}
console.log(`reports: var/reports · ${(secondsSince(started) / 60).toFixed(1)} min`);
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exit(total.failed === 0 && total.passed > 0 ? 0 : 1);
