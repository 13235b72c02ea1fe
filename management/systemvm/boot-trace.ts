/** What the serial console tells of a boot: its stages, the one that failed, and the last words. */
import type { BootStage } from '../../protocol/messages/systemvm.ts';

export interface BootFailure {
  readonly stage: string;
  readonly reason: string;
  /** How often it has failed in this boot; the program of a system VM is started again each time. */
  readonly count: number;
}

const STAGES_MAX = 64;
const LINES_MAX = 8;
const LINE_LENGTH_MAX = 200;
/** After these nothing more happens in a boot. */
const ENDS: Readonly<Record<string, string>> = {
  'unknown-type': 'the boot arguments name no known type',
  'no-root-disk': 'the root disk was not found',
};

/** The stages of the last boot in the log; those of a boot before it are left out. */
export function stagesIn(serial: string): BootStage[] {
  let stages: BootStage[] = [];
  for (const line of serial.split(/\r?\n/)) {
    const [, stage, seconds, detail = ''] = /NEPHOS-STAGE ([\w-]{1,60})(?: (\d{1,9}(?:\.\d{1,6})?))?(?: (.*))?$/.exec(line) ?? [];
    if (!stage) continue;
    const before = stages.at(-1)?.atSeconds ?? 0;
    const atSeconds = seconds === undefined ? before : Number(seconds);
    // The clock counts from the start of the kernel.
    if (stage === 'boot' || atSeconds < before - 1) stages = [];
    stages.push({ stage, atSeconds, detail: detail.slice(0, 500) });
  }
  return stages.slice(-STAGES_MAX);
}

/** The stage that keeps the boot from its end; null when there is none, or when what failed has succeeded since. */
export function failureIn(stages: readonly BootStage[]): BootFailure | null {
  const since = stages.slice(stages.findLastIndex(({ stage }) => stage === 'ready') + 1);
  const reasonOf = ({ stage, detail }: BootStage): { stage: string; reason: string } | null => {
    const end = ENDS[stage];
    if (end !== undefined) return { stage, reason: end };
    if (detail.startsWith('failed:')) return { stage, reason: detail.slice('failed:'.length).trim() };
    return null;
  };
  const failures = since.flatMap((each) => reasonOf(each) ?? []);
  const last = failures.at(-1);
  if (last) {
    const count = ENDS[last.stage] === undefined ? failures.filter(({ stage }) => stage === last.stage).length : Number.POSITIVE_INFINITY;
    return { ...last, count };
  }
  const exits = since.filter(({ stage }) => stage === 'role-exited');
  const exit = exits.at(-1);
  if (exit) return { stage: 'role', reason: `its program ended with status ${exit.detail || 'unknown'}`, count: exits.length };
  if (since.some(({ stage }) => stage === 'payload-missing') && !since.some(({ stage }) => stage === 'payload'))
    return { stage: 'payload', reason: 'the disk with its programs was not found', count: 1 };
  return null;
}

/** The last lines, for an operator to read. The join token of the kernel command line is taken out. */
export const lastWordsOf = (serial: string): string[] =>
  serial
    .replace(/\x1b\[[0-9;?]*[A-Za-z]/g, '')
    .split(/[\r\n]+/)
    .map((line) =>
      line
        .replace(/[\x00-\x1f\x7f]/g, ' ')
        .replace(/token=\S+/g, 'token=…')
        .trim()
        .slice(0, LINE_LENGTH_MAX),
    )
    .filter((line) => line !== '')
    .slice(-LINES_MAX);

/** True when `later` is the same boot as `earlier`, seen again or further on. */
export const isSameBoot = (earlier: readonly BootStage[], later: readonly BootStage[]): boolean =>
  earlier.length > 0 &&
  later.length >= earlier.length &&
  earlier.every(({ stage, atSeconds }, index) => later[index]?.stage === stage && later[index]?.atSeconds === atSeconds);

/** `boot 1.20, agent 5.31, ready 9.00`: seconds since the kernel started. */
export const stagesText = (stages: readonly BootStage[]): string =>
  stages.map(({ stage, atSeconds }) => `${stage} ${atSeconds.toFixed(2)}`).join(', ');
