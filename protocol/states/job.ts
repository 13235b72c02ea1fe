import { type StateOf, stateMachine } from '../state-machine.ts';

export const jobStates = stateMachine('job', {
  Queued: { run: 'Running', fail: 'Failed' },
  Running: { run: 'Running', succeed: 'Done', unwind: 'Unwinding', fail: 'Failed', stick: 'Stuck' },
  Unwinding: { run: 'Unwinding', fail: 'Failed', stick: 'Stuck' },
  Done: {},
  Failed: {},
  Stuck: { run: 'Running', fail: 'Failed' },
});
export type JobState = StateOf<typeof jobStates>;
/** As the API shows it: 0 pending, 1 success, 2 failure. */
export const apiJobStatus: Readonly<Record<JobState, 0 | 1 | 2>> = { Queued: 0, Running: 0, Unwinding: 0, Stuck: 0, Done: 1, Failed: 2 };
