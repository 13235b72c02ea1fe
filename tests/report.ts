/** What a test run leaves under var/reports: one JSON file per test file. `npm run features` reads nothing else. */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';

export const repository = resolve(import.meta.dirname, '..');
export const reportsDirectory = join(repository, 'var', 'reports');

export const TestResult = z.strictObject({
  /** Names from the outermost suite to the test. */
  title: z.string(),
  state: z.enum(['passed', 'failed', 'skipped', 'todo']),
  seconds: z.number(),
  error: z.string().optional(),
});
export type TestResult = Readonly<z.infer<typeof TestResult>>;

export const Report = z.strictObject({
  phase: z.string(),
  /** Path from the top of the repository. */
  file: z.string(),
  startedAt: z.iso.datetime(),
  seconds: z.number(),
  tests: z.array(TestResult),
});
export type Report = Readonly<z.infer<typeof Report>>;

export const nameOf = (file: string): string => file.replace(/\.ts$/, '').replaceAll('/', '-');
export const reportPath = (phase: string, file: string): string => join(reportsDirectory, phase, `${nameOf(file)}.json`);
export const logPath = (phase: string, file: string): string => join(reportsDirectory, phase, `${nameOf(file)}.log`);

export const clearReports = async (phases: readonly string[]): Promise<void> => {
  for (const phase of phases) {
    await rm(join(reportsDirectory, phase), { recursive: true, force: true });
    await mkdir(join(reportsDirectory, phase), { recursive: true });
  }
};

export const writeReport = async (report: Report): Promise<void> => {
  const path = reportPath(report.phase, report.file);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, `${JSON.stringify(report, null, 2)}\n`);
};

/** All reports there are, in the order of their files; none when nothing was run yet. */
export const readReports = async (directory = reportsDirectory): Promise<Report[]> => {
  const names = await readdir(directory, { recursive: true }).catch(() => []);
  const paths = names.filter((name) => name.endsWith('.json')).sort();
  return Promise.all(paths.map(async (name) => Report.parse(JSON.parse(await readFile(join(directory, name), 'utf8')))));
};
