/** Bodies of requests and replies of the query API: parameter maps in, JSON or XML out. */
import { XMLBuilder } from 'fast-xml-parser';
import { CloudError } from '../../protocol/errors.ts';
import type { RawParam, RawParams } from './params.ts';

/** CloudStack's version that the API speaks; in the XML root. */
export const API_VERSION = '4.22.0.0';

/** As many as any client sends, and few enough that nobody keeps the server busy with them. */
const PARAMS_MAX = 5000;

/** Query string and form body as one list: the query wins, last of a repeated query name, first of a repeated body name. */
export function mergeParams(query: string, form: string): [string, string][] {
  const merged = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(form)) if (!merged.has(name)) merged.set(name, value);
  for (const [name, value] of new URLSearchParams(query)) merged.set(name, value);
  if (merged.size > PARAMS_MAX) throw new CloudError('BadRequest', `A request has at most ${PARAMS_MAX} parameters`);
  return [...merged];
}

/** Names in lower case; `name[3].field` gathered below `name`, its field's case kept. */
export function rawParams(pairs: readonly (readonly [string, string])[]): RawParams {
  const raw = new Map<string, { text?: string; entries?: { index: number; field: string; value: string }[] }>();
  for (const [name, value] of pairs) {
    // A tab counts as a control character too; line ends do not.
    if (/[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]/.test(value)) {
      throw new CloudError('MalformedParameter', `Received value with control characters for parameter ${name.slice(0, 100)}`);
    }
    if (!name.includes('[') && !name.includes(']')) {
      const key = name.toLowerCase();
      raw.set(key, { ...raw.get(key), text: value });
      continue;
    }
    const match = /^([^[\].]+)\[(\d{1,9})\]\.?([^[\]]*)$/.exec(name);
    if (!match?.[1])
      throw new CloudError('MalformedMap', `Unable to decode parameter ${name.slice(0, 100)}; it must look like name[0].field`);
    const key = match[1].toLowerCase();
    const known = raw.get(key) ?? {};
    known.entries ??= [];
    known.entries.push({ index: Number(match[2]), field: match[3] || 'value', value });
    raw.set(key, known);
  }
  return raw satisfies Map<string, RawParam>;
}

export type Format = 'json' | 'xml';
const xml = new XMLBuilder({ ignoreAttributes: false, format: false, suppressEmptyNode: false });

export function serialize(format: Format, root: string, body: Record<string, unknown>, { versioned }: { versioned: boolean }): string {
  if (format === 'json') return JSON.stringify({ [root]: body });
  const attributes = versioned ? { '@_cloud-stack-version': API_VERSION } : {};
  return `<?xml version="1.0" encoding="UTF-8"?>${xml.build({ [root]: { ...attributes, ...forXml(body) } })}`;
}

/** Names of elements come from users too, as names of details do; and not every character may stand in XML. */
const forXml = (fields: object): object =>
  Object.fromEntries(Object.entries(fields).map(([name, value]) => [xmlName(name), xmlValue(value)]));
const xmlName = (name: string): string => name.replace(/[^\w.-]/g, '_').replace(/^(?![A-Za-z_])/, '_');
function xmlValue(value: unknown): unknown {
  if (typeof value === 'string') return value.replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]/gu, '');
  if (Array.isArray(value)) return value.map(xmlValue);
  return typeof value === 'object' && value !== null ? forXml(value) : value;
}

export const contentType = (format: Format): string => (format === 'json' ? 'application/json; charset=UTF-8' : 'text/xml; charset=UTF-8');

/** Texts that are not for tenants: what the cloud is short of, and what broke in it. */
const GENERIC = new Set([530, 533, 534]);

export function errorText(error: CloudError, admin: boolean): string {
  if (admin || !GENERIC.has(error.status) || error.code === 'Unavailable' || error.code === 'Conflict' || error.code === 'Timeout')
    return error.message;
  return error.status === 533
    ? 'Unable to carry out the request because the cloud is short of capacity; please contact your administrator'
    : 'Unable to carry out the request because of an error in the cloud; please contact your administrator';
}

export function errorBody(error: CloudError, admin: boolean): Record<string, unknown> {
  return {
    uuidList: [],
    errorcode: error.status,
    ...(error.csCode === null ? {} : { cserrorcode: error.csCode }),
    errortext: errorText(error, admin),
  };
}
