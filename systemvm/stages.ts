/** The stages of a boot, with the time since the kernel started: on the console, and kept for whoever asks. */
import { appendFileSync } from 'node:fs';
import { CloudError } from '../protocol/errors.ts';
import type { BootStage } from '../protocol/messages/systemvm.ts';

const STAGES_MAX = 64;

export interface BootStages {
  readonly list: () => readonly BootStage[];
  readonly mark: (stage: string, detail?: string) => void;
  /** Runs one stage; when it throws, the stage is marked as the one that failed. */
  readonly run: <T>(stage: string, work: () => Promise<T>) => Promise<T>;
}

// The monotonic clock of Linux counts from the start of the kernel.
const secondsSinceBoot = (): number => Number(process.hrtime.bigint() / 1_000_000n) / 1000;
const oneLine = (text: string): string => text.replace(/[\x00-\x1f\x7f]+/g, ' ').slice(0, 500);

export function bootStages(consoleFile: string): BootStages {
  const stages: BootStage[] = [];
  const mark = (stage: string, detail = ''): void => {
    const entry = { stage, atSeconds: secondsSinceBoot(), detail: oneLine(detail) };
    if (stages.length >= STAGES_MAX) stages.pop();
    stages.push(entry);
    const line = `NEPHOS-STAGE ${entry.stage} ${entry.atSeconds.toFixed(2)} ${entry.detail}`.trimEnd();
    try {
      appendFileSync(consoleFile, `${line}\n`);
    } catch {
      // A console that cannot be written must not stop a boot.
    }
  };
  return {
    list: () => stages,
    mark,
    run: async (stage, work) => {
      try {
        const result = await work();
        mark(stage);
        return result;
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        mark(stage, `failed: ${reason}`);
        throw new CloudError('Internal', `boot stage ${stage} failed: ${reason}`, { cause: error });
      }
    },
  };
}
