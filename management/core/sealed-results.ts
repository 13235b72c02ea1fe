/** Secrets in the result of a job, such as a new guest's password: sealed in the row, opened in the reply to the account whose job it is. */
import type { Secret } from '../../protocol/schema.ts';
import type { Secrets } from './secrets.ts';

const MARK = 'sealed:';

/** What is put into the result. */
export const sealedResult = (secrets: Secrets, secret: Secret): string => `${MARK}${secrets.seal(secret)}`;

/** A text that only looks sealed, such as the name somebody gave his machine, is shown as it is: nobody else can seal. */
function opened(secrets: Secrets, text: string, own: boolean): string | undefined {
  try {
    const secret = secrets.open(text.slice(MARK.length));
    return own ? secret.reveal() : undefined;
  } catch {
    return text;
  }
}

/** The result with its secrets opened, or left out for everybody else. */
export function openResult(secrets: Secrets, value: unknown, { own }: { own: boolean }): unknown {
  if (typeof value === 'string' && value.startsWith(MARK)) return opened(secrets, value, own);
  if (Array.isArray(value)) return value.map((each) => openResult(secrets, each, { own }));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .map(([key, each]): [string, unknown] => [key, openResult(secrets, each, { own })])
      .filter(([, each]) => each !== undefined),
  );
}
