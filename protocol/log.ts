/** Structured logs, one JSON object a line, for every process. Secrets print as `***` (see `Secret`), and known names are censored too. */
import { type Logger, pino } from 'pino';
import { CloudError } from './errors.ts';

export type Log = Logger;

const censored = ['password', 'token', 'secret', 'secretKey', 'key', 'vncPassword', 'userData', 'signature', 'sessionkey', 'apikey'];

export function createLog(name: string, { level = process.env['NEPHOS_LOG_LEVEL'] ?? 'info' }: { level?: string } = {}): Log {
  return pino({
    name,
    level,
    base: { pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: { paths: [...censored, ...censored.map((key) => `*.${key}`), ...censored.map((key) => `*.*.${key}`)], censor: '***' },
    serializers: {
      err: (error: unknown) =>
        error instanceof CloudError
          ? { code: error.code, message: error.message, detail: error.detail, cause: String(error.cause ?? ''), stack: error.stack }
          : pino.stdSerializers.err(error instanceof Error ? error : Object(error)),
    },
  });
}
