/** JSON at the agent's edges: files it wrote itself and the output of tools. Nothing else in the agent parses JSON. */
import * as z from 'zod';
import { CloudError } from '../protocol/errors.ts';
import { parse, type Schema } from '../protocol/schema.ts';

/** An object of which we read some fields; tools add others with every release. */
export const known = <F extends z.ZodRawShape>(fields: F) => z.object(fields);

export function parseJson<T>(schema: Schema<T>, text: string, where: string): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new CloudError('MalformedParameter', `${where}: is not JSON`, { cause });
  }
  return parse(schema, value, where);
}
