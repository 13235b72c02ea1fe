/** Runs one test file, or one checking program, in a process of its own that cannot outlive its time. */
import { spawn } from 'node:child_process';
import { mkdir, open, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { logPath, type Report, reportPath, repository, TestResult, writeReport } from './report.ts';

const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
const reporter = pathToFileURL(join(import.meta.dirname, 'report-events.ts')).href;
const KILL_AFTER_MS = 10_000;

export interface Limits {
  readonly timeoutSeconds: number;
  /** Ends what runs when the whole run is out of time or interrupted. */
  readonly signal: AbortSignal;
}

type Ending =
  | { readonly kind: 'ended'; readonly code: number }
  | { readonly kind: 'timeout' | 'stopped' | 'killed'; readonly words: string };

/** The process leads a group of its own, so that its children end with it. */
const runProcess = async (args: readonly string[], logFile: string, { timeoutSeconds, signal }: Limits): Promise<Ending> => {
  await mkdir(dirname(logFile), { recursive: true });
  const log = await open(logFile, 'w');
  try {
    if (signal.aborted) return { kind: 'stopped', words: `was not run: ${String(signal.reason)}` };
    return await new Promise<Ending>((done) => {
      const { NODE_TEST_CONTEXT: _, ...environment } = process.env;
      const child = spawn(process.execPath, args, { cwd: repository, detached: true, stdio: ['ignore', log.fd, log.fd], env: environment });
      let early: Ending | null = null;
      const killGroup = (kind: NodeJS.Signals): void => {
        try {
          if (child.pid !== undefined) process.kill(-child.pid, kind);
        } catch {
          // The group has ended meanwhile.
        }
      };
      const end = (ending: Ending): void => {
        if (early) return;
        early = ending;
        killGroup('SIGTERM');
        setTimeout(() => killGroup('SIGKILL'), KILL_AFTER_MS).unref();
      };
      const stop = (): void => end({ kind: 'stopped', words: String(signal.reason) });
      const timer = setTimeout(() => end({ kind: 'timeout', words: `did not end within ${timeoutSeconds} s` }), timeoutSeconds * 1000);
      signal.addEventListener('abort', stop, { once: true });
      const settle = (ending: Ending): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', stop);
        if (early) killGroup('SIGKILL');
        done(early ?? ending);
      };
      child.once('error', (error) => settle({ kind: 'killed', words: error.message }));
      child.once('exit', (code, signalName) =>
        settle(code === null ? { kind: 'killed', words: `was ended by ${signalName}` } : { kind: 'ended', code }),
      );
    });
  } finally {
    await log.close();
  }
};

const lastLines = async (path: string, count: number): Promise<string> =>
  (await readFile(path, 'utf8').catch(() => '')).trimEnd().split('\n').slice(-count).join('\n');

const readResults = async (path: string): Promise<TestResult[]> => {
  const text = await readFile(path, 'utf8').catch(() => '');
  // A process that was killed may leave half a line.
  const lines = text.split('\n').slice(0, -1);
  return lines.filter((line) => line !== '').map((line) => TestResult.parse(JSON.parse(line)));
};

/** Runs a file of tests. Whatever keeps it from ending well is a failed test of its own, so that nothing passes by not having run. */
export const runTestFile = async (phase: string, file: string, limits: Limits): Promise<Report> => {
  const logFile = logPath(phase, file);
  const events = reportPath(phase, file).replace(/\.json$/, '.events');
  const startedAt = new Date();
  await mkdir(dirname(events), { recursive: true });
  const arguments_ = ['--import', tsx, `--test-reporter=${reporter}`, `--test-reporter-destination=${events}`, join(repository, file)];
  const ending = await runProcess(arguments_, logFile, limits);
  const tests = await readResults(events);
  await rm(events, { force: true });
  const fail = async (words: string): Promise<void> => {
    tests.push({ title: file, state: 'failed', seconds: 0, error: `${words}\n${await lastLines(logFile, 20)}`.trim() });
  };
  if (ending.kind !== 'ended') await fail(ending.words);
  else if (ending.code !== 0 && !tests.some(({ state }) => state === 'failed')) await fail(`ended with code ${ending.code}`);
  else if (tests.length === 0) await fail('holds no tests');
  const report = { phase, file, startedAt: startedAt.toISOString(), seconds: (Date.now() - startedAt.getTime()) / 1000, tests };
  await writeReport(report);
  return report;
};

/** A program such as the compiler, which passes or fails as a whole. `bin` is its file under node_modules. */
export const runCheck = async (phase: string, title: string, bin: string, args: readonly string[], limits: Limits): Promise<Report> => {
  const logFile = logPath(phase, title);
  const startedAt = new Date();
  const ending = await runProcess([join(repository, 'node_modules', bin), ...args], logFile, limits);
  const seconds = (Date.now() - startedAt.getTime()) / 1000;
  const passed = ending.kind === 'ended' && ending.code === 0;
  const words = ending.kind === 'ended' ? '' : `${ending.words}\n`;
  const error = passed ? {} : { error: `${words}${await lastLines(logFile, 40)}` };
  const tests = [{ title, state: passed ? ('passed' as const) : ('failed' as const), seconds, ...error }];
  const report = { phase, file: title, startedAt: startedAt.toISOString(), seconds, tests };
  await writeReport(report);
  return report;
};
