/** Secrets in the result of a job, such as a new guest's password: sealed in the row, opened in the reply to the account whose job it is. */
import type { Secret } from '../../protocol/schema.ts';
import type { Secrets } from './secrets.ts';

const MARK = 'sealed:';

/** What is put into the result. */
export const sealedResult = (secrets: Secrets, secret: Secret): string => `${MARK}${secrets.seal(secret)}`;

/** The result with its secrets opened, or left out for everybody else. */
export function openResult(secrets: Secrets, value: unknown, { own }: { own: boolean }): unknown {
  if (typeof value === 'string' && value.startsWith(MARK)) return own ? secrets.open(value.slice(MARK.length)).reveal() : undefined;
  if (Array.isArray(value)) return value.map((each) => openResult(secrets, each, { own }));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .map(([key, each]): [string, unknown] => [key, openResult(secrets, each, { own })])
      .filter(([, each]) => each !== undefined),
  );
}
