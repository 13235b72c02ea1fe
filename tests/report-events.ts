/** A reporter for node:test: one JSON line per test that is itself a claim; suites and tests made of subtests are only part of their names. */
import type { TestEvent } from 'node:test/reporters';
import type { TestResult } from './report.ts';

type Outcome = Extract<TestEvent, { type: 'test:pass' | 'test:fail' }>;

const words = (error: unknown): string => {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  if (!(cause instanceof Error)) return String(cause);
  const detail = 'detail' in cause ? `\n${JSON.stringify(cause.detail)}` : '';
  return `${cause.stack ?? cause.message}${detail}`.slice(0, 8000);
};

const failureType = (error: unknown): unknown => (error instanceof Error && 'failureType' in error ? error.failureType : undefined);

const marked = (mark: string | boolean | undefined): boolean => mark !== undefined && mark !== false;

export default async function* report(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const names: string[] = [];
  const hasChildren: boolean[] = [];
  const line = (event: Outcome): string => {
    const { name, nesting, details, skip, todo } = event.data;
    const parent = hasChildren[nesting] === true;
    hasChildren[nesting] = false;
    if (nesting > 0) hasChildren[nesting - 1] = true;
    const error: unknown = event.type === 'test:fail' ? event.data.details.error : undefined;
    const isSuite = parent || details.type === 'suite';
    // A parent fails because of its subtests, which have lines of their own, or for a reason of its own, which must not be lost.
    if (isSuite && !marked(skip) && !marked(todo) && (event.type === 'test:pass' || failureType(error) === 'subtestsFailed')) return '';
    const result: TestResult = {
      title: [...names.slice(0, nesting), name].join(' › '),
      state: marked(skip) ? 'skipped' : marked(todo) ? 'todo' : event.type === 'test:pass' ? 'passed' : 'failed',
      seconds: Math.round(details.duration_ms) / 1000,
      ...(event.type === 'test:fail' ? { error: words(error) } : {}),
    };
    return `${JSON.stringify(result)}\n`;
  };
  for await (const event of events) {
    if (event.type === 'test:start') {
      names[event.data.nesting] = event.data.name;
      hasChildren[event.data.nesting] = false;
    } else if (event.type === 'test:pass' || event.type === 'test:fail') yield line(event);
  }
}
