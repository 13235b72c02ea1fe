/**
 * The one small schema layer, on zod: agent messages, saga inputs, settings and the processes' own configuration are described
 * with it, so a shape is written once and checked at every boundary. Objects refuse unknown fields.
 */
import { isIPv4 } from 'node:net';
// As a namespace, so that a bundle for a system VM carries only the parts of zod that are used: a fifth of it.
import * as z from 'zod';
import { CloudError } from './errors.ts';

export type Schema<T> = z.ZodType<T>;
export type Infer<S> = S extends z.ZodType ? z.infer<S> : never;

/** Ids are branded, so a host id can never be passed where a VM id is wanted. */
export type Id<K extends string> = string & { readonly __kind: K };

export const UUID_PATTERN = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const CIDR_PATTERN = /^(\d{1,3}(?:\.\d{1,3}){3})\/(\d|[12]\d|3[0-2])$/;

export const isUuid = (value: unknown): value is string => typeof value === 'string' && UUID_PATTERN.test(value);
export const isCidr4 = (value: string): boolean => {
  const match = CIDR_PATTERN.exec(value);
  return match !== null && isIPv4(match[1] ?? '');
};

/** Marks a text that must not be printed: logs show `***`. Use `reveal()` at the one place that needs it. */
export class Secret {
  readonly #text: string;
  constructor(text: string) {
    this.#text = text;
  }
  reveal(): string {
    return this.#text;
  }
  toString(): string {
    return '***';
  }
  toJSON(): string {
    return '***';
  }
}

export const s = {
  id: <K extends string>(_kind: K) => z.custom<Id<K>>(isUuid, 'must be an id'),
  string: ({ min = 0, max = 255, match }: { min?: number; max?: number; match?: RegExp } = {}) => {
    const base = z.string().min(min).max(max);
    return match ? base.regex(match) : base;
  },
  /** Long text such as user data or a certificate; `max` in characters. */
  text: ({ max }: { max: number }) => z.string().max(max),
  int: ({ min = 0, max = Number.MAX_SAFE_INTEGER }: { min?: number; max?: number } = {}) => z.int().min(min).max(max),
  number: ({ min, max }: { min: number; max: number }) => z.number().min(min).max(max),
  boolean: () => z.boolean(),
  oneOf: <const V extends readonly [string, ...string[]]>(...values: V) => z.enum(values),
  literal: <const V extends string>(value: V) => z.literal(value),
  list: <T extends z.ZodType>(item: T, { max = 100_000 }: { max?: number } = {}) => z.array(item).max(max),
  record: <T extends z.ZodType>(item: T, { max = 1000 }: { max?: number } = {}) =>
    z.record(z.string().max(255), item).refine((value) => Object.keys(value).length <= max, `must have at most ${max} entries`),
  object: <F extends z.ZodRawShape>(fields: F) => z.strictObject(fields),
  union: <const V extends readonly [z.ZodType, ...z.ZodType[]]>(...shapes: V) => z.union(shapes),
  optional: <T extends z.ZodType>(inner: T) => inner.optional(),
  nullable: <T extends z.ZodType>(inner: T) => inner.nullable(),
  /** Dotted IPv4 address. */
  ip4: () => z.custom<string>((value) => typeof value === 'string' && isIPv4(value), 'must be an IPv4 address'),
  /** IPv4 network such as 10.1.1.0/24. */
  cidr4: () => z.custom<string>((value) => typeof value === 'string' && isCidr4(value), 'must be an IPv4 network such as 10.1.1.0/24'),
  mac: () => z.string().regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/, 'must be a MAC address in lower case'),
  /** A DNS label or dotted name. */
  hostName: () =>
    z
      .string()
      .max(253)
      .regex(/^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$/, 'must be a host name'),
  sha256: () => z.string().regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 in lower-case hexadecimal'),
  /** Milliseconds since 1970 in UTC. */
  time: () => z.int().min(0),
  /** Anything JSON can carry; for values that are checked elsewhere. */
  json: () => z.json(),
  /** A value that came out of JSON already and is checked by whoever takes it; unlike `json` it costs nothing on large values. */
  unknown: () => z.unknown(),
};

/** Makes `value` a value of `schema`, or throws `MalformedParameter` naming the place. `where` starts the sentence. */
export function parse<T>(schema: Schema<T>, value: unknown, where: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = issue ? issue.path.map((step) => (typeof step === 'number' ? `[${step}]` : `.${String(step)}`)).join('') : '';
  throw new CloudError('MalformedParameter', `${where}${path}: ${issue?.message ?? 'is not valid'}`);
}
