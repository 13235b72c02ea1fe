/** Structured logs, one JSON object a line, for every process. Secrets print as `***` (see `Secret`), and known names are censored too. */
import { type Logger, pino } from 'pino';
import { CloudError } from './errors.ts';

export type Log = Logger;

const censored = ['password', 'token', 'secret', 'secretKey', 'key', 'vncPassword', 'userData', 'signature', 'sessionkey', 'apikey'];

const CAUSES_MAX = 4;
/**
 * What a log says of an error. Only these fields: an error of a database carries its statement with all values, those of other libraries
 * whole requests.
 */
export function errorTold(error: unknown, depth = 0): Record<string, unknown> {
  if (!(error instanceof Error)) return { message: String(error) };
  const code: unknown = Reflect.get(error, 'code');
  const errno: unknown = Reflect.get(error, 'errno');
  return {
    type: error.name,
    ...(typeof code === 'string' || typeof code === 'number' ? { code } : {}),
    ...(typeof errno === 'string' || typeof errno === 'number' ? { errno } : {}),
    message: error.message,
    ...(error instanceof CloudError ? { detail: error.detail } : {}),
    ...(error.cause === undefined || depth >= CAUSES_MAX ? {} : { cause: errorTold(error.cause, depth + 1) }),
    stack: error.stack,
  };
}

export function createLog(name: string, { level = process.env['NEPHOS_LOG_LEVEL'] ?? 'info' }: { level?: string } = {}): Log {
  return pino({
    name,
    level,
    base: { pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: { paths: [...censored, ...censored.map((key) => `*.${key}`), ...censored.map((key) => `*.*.${key}`)], censor: '***' },
    serializers: {
      err: (error: unknown) => errorTold(error),
    },
  });
}
