/**
 * Every error a caller can see. HTTP status and CloudStack error numbers appear in this table and nowhere else
 * (numbers: CloudStack's ApiErrorCode and CSExceptionErrorCode).
 */
const CODES = {
  BadRequest: { status: 400, csCode: null },
  Unauthenticated: { status: 401, csCode: null },
  MethodNotAllowed: { status: 405, csCode: null },
  TooManyRequests: { status: 429, csCode: 4545 },
  MalformedMap: { status: 430, csCode: 9999 },
  /** Found by the parameter parser: missing, or not of its type. */
  MalformedParameter: { status: 431, csCode: 9999 },
  /** Found by the rules: a value that is well-formed and still not acceptable. */
  InvalidParameter: { status: 431, csCode: 4350 },
  NotFound: { status: 431, csCode: 4350 },
  /** The object is in a state in which this cannot be done. */
  WrongState: { status: 431, csCode: 4350 },
  UnknownCommand: { status: 432, csCode: 4555 },
  Maintenance: { status: 503, csCode: 4355 },
  TwoFactorDue: { status: 511, csCode: null },
  Internal: { status: 530, csCode: 4250 },
  /** Somebody else changed the object meanwhile. */
  Conflict: { status: 530, csCode: 4300 },
  Timeout: { status: 530, csCode: 4560 },
  /** The database, or Redis, cannot be reached now. */
  Unavailable: { status: 530, csCode: 4250 },
  Forbidden: { status: 531, csCode: 4365 },
  LoginFailed: { status: 531, csCode: null },
  LimitExceeded: { status: 532, csCode: 4280 },
  InsufficientCapacity: { status: 533, csCode: 4335 },
  InsufficientStorage: { status: 533, csCode: 4340 },
  InsufficientAddresses: { status: 533, csCode: 4320 },
  /** A host or system VM that should do the work does not answer or has no link. */
  Unreachable: { status: 534, csCode: 4285 },
  ResourceUnavailable: { status: 534, csCode: 4380 },
  AllocationFailed: { status: 535, csCode: 4370 },
  InUse: { status: 536, csCode: 4375 },
  RuleConflict: { status: 537, csCode: 4360 },
} as const;

export type Code = keyof typeof CODES;
export const errorCodes = Object.keys(CODES) as Code[];

export interface StoredError {
  readonly code: Code;
  readonly message: string;
}

/** `message` is for the caller. `detail` and `cause` are for the log and never leave it. */
export class CloudError extends Error {
  readonly code: Code;
  readonly detail: Readonly<Record<string, unknown>>;

  constructor(code: Code, message: string, { cause, ...detail }: { cause?: unknown; [key: string]: unknown } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'CloudError';
    this.code = code;
    this.detail = detail;
  }

  get status(): number {
    return CODES[this.code].status;
  }

  /** The CloudStack error number, or null where the wire rules leave it out. */
  get csCode(): number | null {
    return CODES[this.code].csCode;
  }

  /** What a journal, a job row or a refusal keeps of an error: a sentence for the caller, no stack and no detail. */
  static store(error: unknown): StoredError {
    return error instanceof CloudError
      ? { code: error.code, message: error.message }
      : { code: 'Internal', message: 'an internal error happened; the log has the details' };
  }

  static revive(stored: unknown): CloudError {
    if (typeof stored === 'object' && stored !== null && 'code' in stored && 'message' in stored) {
      const { code, message } = stored;
      if (typeof message === 'string') return new CloudError(isCode(code) ? code : 'Internal', message);
    }
    return new CloudError('Internal', 'an internal error happened; the log has the details');
  }
}

const isCode = (value: unknown): value is Code => typeof value === 'string' && Object.hasOwn(CODES, value);
