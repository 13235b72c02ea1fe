/** What the API offers, told from the commands themselves; clients build their menus and their own commands from it. */
import { type AnyCommand, isAsync } from '../core/command.ts';
import type { Params } from '../core/params.ts';
import { type Field, type Fields, f, view } from '../core/view.ts';

export interface ParamTold {
  readonly name: string;
  readonly description: string;
  readonly type: string;
  readonly length: number;
  readonly required: boolean;
}
/** Also its own shape in replies: fields of nested objects are of unknown depth. */
export interface FieldTold {
  readonly name: string;
  readonly description: string;
  readonly type: string;
  readonly response?: readonly FieldTold[];
}
export interface ApiTold {
  readonly name: string;
  readonly description: string;
  readonly isasync: boolean;
  readonly params: readonly ParamTold[];
  readonly response: readonly FieldTold[];
}

export function describe({ name, about, params, reply }: AnyCommand, { admin }: { admin: boolean }): ApiTold {
  return {
    name,
    description: about,
    isasync: isAsync({ reply }),
    params: paramsTold(params, admin),
    response: 'view' in reply && reply.view ? fieldsTold(reply.view.fields as Fields<never>, admin) : successTold,
  };
}

const successTold: readonly FieldTold[] = [
  { name: 'success', description: 'true if it was done', type: 'boolean' },
  { name: 'displaytext', description: 'what there is to say about it', type: 'string' },
];

const paramsTold = (params: Params, admin: boolean): ParamTold[] =>
  Object.entries(params)
    .filter(([, { adminOnly }]) => admin || !adminOnly)
    .map(([name, { about, type, length, required }]) => ({ name, description: about, type, length, required }));

function fieldsTold(fields: Fields<never>, admin: boolean): FieldTold[] {
  return Object.entries(fields)
    .filter(([, { adminOnly }]) => admin || !adminOnly)
    .map(([name, { about, type, of }]) => ({ name, description: about, type, ...(of ? { response: fieldsTold(of, admin) } : {}) }));
}

const nested: Field<FieldTold> = {
  type: 'set',
  about: 'fields of the objects in this field',
  adminOnly: false,
  get: ({ response }) => response,
};
const paramFields: Fields<ParamTold> = {
  name: f.string('the name of the parameter', (row) => row.name),
  description: f.string('what the parameter is for', (row) => row.description),
  type: f.string('the type of the parameter', (row) => row.type),
  length: f.integer('the most characters it may have', (row) => row.length),
  required: f.boolean('true if it must be given', (row) => row.required),
};
const fieldFields: Fields<FieldTold> = {
  name: f.string('the name of the field', (row) => row.name),
  description: f.string('what the field says', (row) => row.description),
  type: f.string('the type of the field', (row) => row.type),
  response: nested,
};
export const apiView = view<ApiTold>('ApiDiscoveryResponse', 'api', {
  name: f.string('the name of the command', (row) => row.name),
  description: f.string('what the command does', (row) => row.description),
  isasync: f.boolean('true if it answers with a job', (row) => row.isasync),
  params: f.set('the parameters of the command', (row) => row.params, paramFields),
  response: f.set('the fields of its reply', (row) => row.response, fieldFields),
});
