import { CloudError } from '../protocol/errors.ts';

export interface Bar {
  /** `fraction` from 0 to 1; `note` says what is being done now. */
  update(fraction: number, note?: string): void;
}

export interface Screen {
  write(text: string): void;
  readonly isTTY: boolean;
  readonly columns: number;
}

export interface Reporter {
  /** Runs one step and prints its line. An error is printed with its log and remedy, and thrown on. */
  run<T>(name: string, work: (bar: Bar) => Promise<T>): Promise<T>;
  /** A line between the steps. */
  say(text: string): void;
  readonly elapsedSeconds: () => number;
}

interface RunningStep {
  readonly name: string;
  readonly startedAtMs: number;
  fraction: number | null;
  note: string;
  /** The last tenth that got a line of its own, where lines cannot be redrawn. */
  printedTenth: number;
}

const NAME_WIDTH = 22;
const BAR_WIDTH = 24;
const REDRAW_MS = 120;

export const formatDuration = (seconds: number): string => {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, '0')} s`;
};

export const formatBar = (fraction: number, width = BAR_WIDTH): string => {
  const filled = Math.round(Math.min(1, Math.max(0, fraction)) * width);
  return '█'.repeat(filled) + '░'.repeat(width - filled);
};

/** Control characters in a note (a package's name, a program's last words) must not move the cursor. */
const printable = (text: string): string => text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').trim();

const fit = (text: string, columns: number): string => (text.length < columns ? text : `${text.slice(0, Math.max(0, columns - 2))}…`);

const textDetail = (error: CloudError, key: string): string | null => {
  const value = error.detail[key];
  return typeof value === 'string' && value !== '' ? value : null;
};

/** What failed, where its log is, what to do: the keys `logFile`, `lastLines` and `remedy` of a CloudError's detail. */
export const formatFailure = (name: string, seconds: number, error: unknown): string => {
  const lines = [`✗ ${name} failed after ${formatDuration(seconds)}: ${printable(error instanceof Error ? error.message : String(error))}`];
  if (error instanceof CloudError) {
    const logFile = textDetail(error, 'logFile');
    const lastLines = textDetail(error, 'lastLines');
    const remedy = textDetail(error, 'remedy');
    if (lastLines !== null) lines.push(...lastLines.split('\n').map((line) => `    | ${printable(line)}`));
    if (logFile !== null) lines.push(`    log: ${logFile}`);
    lines.push(`    what to do: ${remedy ?? 'remove the cause and run the same command again; it continues where it was'}`);
  }
  return `${lines.join('\n')}\n`;
};

export const standardScreen = (): Screen => ({
  write: (text) => {
    process.stdout.write(text);
  },
  isTTY: process.stdout.isTTY === true,
  columns: process.stdout.columns ?? 80,
});

export const reporter = (screen: Screen = standardScreen(), nowMs: () => number = () => performance.now()): Reporter => {
  const startedAtMs = nowMs();
  const running: RunningStep[] = [];
  let drawnAtMs = Number.NEGATIVE_INFINITY;

  const secondsSince = (thenMs: number): number => (nowMs() - thenMs) / 1000;
  const label = (name: string): string => name.padEnd(NAME_WIDTH);

  const clear = (): void => {
    if (screen.isTTY) screen.write('\r\u001b[K');
  };

  const draw = (force: boolean): void => {
    const step = running.at(-1);
    if (!screen.isTTY || step === undefined || (!force && nowMs() - drawnAtMs < REDRAW_MS)) return;
    drawnAtMs = nowMs();
    const share = step.fraction === null ? '' : `${formatBar(step.fraction)} ${String(Math.floor(step.fraction * 100)).padStart(3)} %  `;
    screen.write(
      `\r\u001b[K${fit(`… ${label(step.name)} ${share}${formatDuration(secondsSince(step.startedAtMs))}  ${step.note}`, screen.columns)}`,
    );
  };

  const printLine = (text: string): void => {
    clear();
    screen.write(text);
    draw(true);
  };

  const update = (step: RunningStep, fraction: number, note: string | undefined): void => {
    step.fraction = Math.min(1, Math.max(0, fraction));
    if (note !== undefined) step.note = printable(note);
    if (screen.isTTY) {
      draw(false);
      return;
    }
    const tenth = Math.floor(step.fraction * 10 + 1e-9);
    if (tenth <= step.printedTenth || tenth >= 10) return;
    step.printedTenth = tenth;
    const percent = String(tenth * 10).padStart(3);
    screen.write(
      `  ${label(step.name)} ${percent} %  ${formatDuration(secondsSince(step.startedAtMs))}  ${step.note}\n`.replace(/ +\n$/, '\n'),
    );
  };

  return {
    elapsedSeconds: () => secondsSince(startedAtMs),
    say: (text) => printLine(`${text}\n`),
    run: async (name, work) => {
      const step: RunningStep = { name, startedAtMs: nowMs(), fraction: null, note: '', printedTenth: 0 };
      running.push(step);
      if (screen.isTTY) draw(true);
      else screen.write(`… ${name}\n`);
      // The elapsed time moves on although a step has nothing to tell.
      const ticker = screen.isTTY ? setInterval(() => draw(false), 500) : null;
      ticker?.unref();
      const end = (): void => {
        if (ticker !== null) clearInterval(ticker);
        running.splice(running.indexOf(step), 1);
      };
      try {
        const result = await work({ update: (fraction, note) => update(step, fraction, note) });
        end();
        printLine(`✓ ${label(name)} ${formatDuration(secondsSince(step.startedAtMs))}\n`);
        return result;
      } catch (error) {
        end();
        printLine(formatFailure(name, secondsSince(step.startedAtMs), error));
        throw error;
      }
    },
  };
};
