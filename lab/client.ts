/** A client of the query API as others write them: signs, sends, waits for jobs. */

import { sign, stringToSign } from '../management/core/auth/signature.ts';
import { CloudError } from '../protocol/errors.ts';

export type Params = Readonly<Record<string, string | number | boolean | undefined>>;
// The replies of a public API: tests look into them as any client would.
// biome-ignore lint/suspicious/noExplicitAny: what a client gets is whatever the server sent.
export type Reply = any;

export class ApiError extends Error {
  readonly status: number;
  readonly body: Reply;
  constructor(command: string, status: number, body: Reply) {
    super(`${command}: ${status} ${body?.errortext ?? JSON.stringify(body)}`);
    this.status = status;
    this.body = body;
  }
}

export interface Keys {
  readonly apiKey: string;
  readonly secretKey: string;
}

export class Client {
  readonly #url: string;
  readonly #keys: Keys;
  constructor(url: string, keys: Keys) {
    this.#url = url;
    this.#keys = keys;
  }

  /** What is under the envelope. */
  async call(command: string, params: Params = {}): Promise<Reply> {
    const pairs: [string, string][] = [
      ['command', command],
      ['response', 'json'],
      ['apiKey', this.#keys.apiKey],
      ...Object.entries(params).flatMap(([name, value]): [string, string][] => (value === undefined ? [] : [[name, String(value)]])),
    ];
    const signature = sign(stringToSign(pairs, 'raw'), this.#keys.secretKey);
    const response = await fetch(this.#url, { method: 'POST', body: new URLSearchParams([...pairs, ['signature', signature]]) });
    const text = await response.text();
    const parsed: Record<string, Reply> = JSON.parse(text);
    const body = Object.values(parsed)[0];
    if (!response.ok) throw new ApiError(command, response.status, body);
    return body;
  }

  /** Starts a job and waits for its result. */
  async run(command: string, params: Params = {}, { timeoutSeconds = 60, pollMs = 50 } = {}): Promise<Reply> {
    const { jobid } = await this.call(command, params);
    return this.job(command, jobid, { timeoutSeconds, pollMs });
  }

  async job(command: string, jobid: string, { timeoutSeconds = 60, pollMs = 50 } = {}): Promise<Reply> {
    for (const until = Date.now() + timeoutSeconds * 1000; ; ) {
      const job = await this.call('queryAsyncJobResult', { jobid });
      if (job.jobstatus === 1) return job.jobresult;
      if (job.jobstatus === 2) throw new ApiError(command, job.jobresultcode, job.jobresult);
      if (Date.now() > until) throw new CloudError('Timeout', `${command}: job ${jobid} has not ended after ${timeoutSeconds} s`);
      await new Promise((resolve) => setTimeout(resolve, pollMs));
    }
  }

  /** The items of a list command; an empty list when there are none. */
  async list(command: string, params: Params = {}): Promise<Reply[]> {
    const body = await this.call(command, params);
    const key = Object.keys(body).find((name) => name !== 'count');
    return key ? body[key] : [];
  }
}

/** Tries until `look` returns something, and returns that. */
export async function eventually<T>(
  what: string,
  look: () => Promise<T | null | undefined | false>,
  { timeoutSeconds = 30, everyMs = 100 } = {},
): Promise<T> {
  let last: unknown = null;
  for (const until = Date.now() + timeoutSeconds * 1000; ; ) {
    try {
      const found = await look();
      if (found) return found;
      last = found;
    } catch (error) {
      last = error;
    }
    if (Date.now() > until)
      throw new CloudError(
        'Timeout',
        `${what} did not happen within ${timeoutSeconds} s; last: ${last instanceof Error ? last.message : JSON.stringify(last)}`,
      );
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
