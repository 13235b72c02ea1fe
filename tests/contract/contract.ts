/** The contract of the API as data, and where an offered command deviates from it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { type Access, type AnyCommand, envelopeOf, isAsync } from '../../management/core/command.ts';
import type { Param } from '../../management/core/params.ts';
import type { Field, Fields, View } from '../../management/core/view.ts';

const ContractParam = z.strictObject({
  name: z.string(),
  type: z.string(),
  elem: z.string().optional(),
  required: z.boolean().optional(),
  /** 255 where nothing is said. */
  length: z.number().optional(),
  /** Who may pass it; everybody where nothing is said. */
  roles: z.array(z.string()).optional(),
  adminonly: z.boolean().optional(),
});
const ContractCommand = z.strictObject({
  name: z.string(),
  isasync: z.boolean(),
  asynccreate: z.boolean().optional(),
  params: z.array(ContractParam),
  /** Name of a table among the objects. */
  response: z.string(),
  envelope: z.string().optional(),
  key: z.string().optional(),
  roles: z.array(z.string()).optional(),
});
const ContractField = z.union([z.tuple([z.string(), z.string()]), z.tuple([z.string(), z.string(), z.string()])]);
const Contract = z.strictObject({ objects: z.record(z.string(), z.array(ContractField)), commands: z.array(ContractCommand) });
const Tiers = z.record(z.string(), z.array(z.string()));

export type ContractParam = z.infer<typeof ContractParam>;
export type ContractCommand = z.infer<typeof ContractCommand>;
export type ContractField = z.infer<typeof ContractField>;

const read = (name: string): unknown => JSON.parse(readFileSync(join(import.meta.dirname, name), 'utf8'));
export const contract = Contract.parse(read('commands.json'));
export const tiers = Tiers.parse(read('tiers.json'));

/** Commands of Nephos's own, each with the reason why none of the contract serves. Nothing of the contract bears such a name. */
export const ownCommands: Readonly<Record<string, string>> = {
  listSystemVmBoots: 'the contract has no word for the stages of a boot',
  listCloudSshKeys: 'the contract keeps the key pair in settings that nobody may read',
  rotateCloudSshKey: 'the contract cannot change the key pair of a cloud that runs',
};

const commandsByName = new Map(contract.commands.map((command) => [command.name, command]));
const objectsByLowerName = new Map(Object.entries(contract.objects).map(([name, fields]) => [name.toLowerCase(), fields]));
export const contractOf = (name: string): ContractCommand | undefined => commandsByName.get(name);
export const objectOf = (name: string): readonly ContractField[] | undefined => contract.objects[name];

/** Types of the contract that are not ours by name: on the wire they are one of ours. */
const sameOnTheWire: Readonly<Record<string, string>> = {
  int: 'integer',
  float: 'double',
  bigdecimal: 'double',
  uuid: 'string',
  url: 'string',
  listresponse: 'list',
  responseobject: 'object',
};
const plainTypes = new Set(['string', 'integer', 'long', 'short', 'double', 'boolean', 'date', 'list', 'set', 'map', 'object']);
export const wireType = (type: string): string => {
  const known = sameOnTheWire[type] ?? type;
  if (plainTypes.has(known)) return known;
  if (known.endsWith('[]')) return 'list';
  // What is left are names of enumerations, which are words on the wire.
  return known.endsWith('response') ? 'object' : 'string';
};

const expectedAccess = (roles: readonly string[] | undefined): Access =>
  roles?.includes('User') ? 'user' : roles?.includes('DomainAdmin') ? 'domainAdmin' : 'admin';

const paramProblems = (name: string, ours: Param<unknown>, theirs: ContractParam | undefined, access: Access): string[] => {
  if (!theirs) return [`parameter ${name} is not in the contract`];
  const problems: string[] = [];
  const say = (what: string, mine: unknown, wanted: unknown): void => {
    if (mine !== wanted) problems.push(`parameter ${name}: ${what} is ${String(mine)}, not ${String(wanted)}`);
  };
  say('type', ours.type, theirs.type);
  say('element type', ours.elem, theirs.elem);
  say('required', ours.required, theirs.required ?? false);
  // Where the contract gives no length it is 255, and a parameter may be held shorter for a reason of its own.
  if (theirs.length !== undefined) say('length', ours.length, theirs.length);
  else if (theirs.type === 'string' && ours.length > 255) say('length', ours.length, 255);
  const adminOnly = theirs.adminonly === true || (theirs.roles !== undefined && expectedAccess(theirs.roles) === 'admin');
  // In a command that only root admins may call, every parameter is theirs alone.
  if (access !== 'admin') say('admin only', ours.adminOnly, adminOnly);
  return problems;
};

const nestedFields = (field: ContractField): readonly ContractField[] | undefined =>
  field[2] !== undefined ? contract.objects[field[2]] : field[1].endsWith('response') ? objectsByLowerName.get(field[1]) : undefined;

const fieldProblems = (path: string, ours: Fields<never>, theirs: readonly ContractField[]): string[] =>
  Object.entries(ours).flatMap(([name, field]: [string, Field<never>]) => {
    const wanted = theirs.find(([each]) => each === name);
    if (!wanted) return [`field ${path}${name} is not in the contract`];
    if (field.type !== wireType(wanted[1])) return [`field ${path}${name}: type is ${field.type}, not ${wireType(wanted[1])}`];
    const nested = nestedFields(wanted);
    return field.of && nested ? fieldProblems(`${path}${name}.`, field.of, nested) : [];
  });

const viewOf = (command: AnyCommand): View<never> | null =>
  command.reply.kind === 'success' ? null : (command.reply.view as View<never> | null);
const keyOf = (command: AnyCommand): string | null =>
  command.reply.kind === 'success' || command.reply.kind === 'flat' ? null : command.reply.key;

/** A command of our own looks like one of the contract's, so that any client can call it, and takes no name from there. */
const ownProblems = (command: AnyCommand): string[] => {
  const problems: string[] = [];
  const lowerNames = contract.commands.map(({ name }) => name.toLowerCase());
  if (lowerNames.includes(command.name.toLowerCase())) problems.push(`${command.name} is a command of the contract`);
  const object = viewOf(command)?.object;
  if (object && objectsByLowerName.has(object.toLowerCase())) problems.push(`${object} is an object of the contract`);
  if (command.envelope) problems.push('the envelope is not made of the name');
  const strange = [...Object.keys(command.params), ...Object.keys(viewOf(command)?.fields ?? {})].filter(
    (name) => !/^[a-z][a-z0-9]*$/.test(name),
  );
  return [...problems, ...strange.map((name) => `${name} is not written as names of the contract are`)];
};

/** What the contract says otherwise, in sentences; none when the command keeps it. */
export const deviations = (command: AnyCommand): string[] => {
  if (ownCommands[command.name] !== undefined) return ownProblems(command);
  const theirs = contractOf(command.name);
  if (!theirs) return [`${command.name} is not in the contract`];
  const problems: string[] = [];
  const say = (what: string, mine: unknown, wanted: unknown): void => {
    if (mine !== wanted) problems.push(`${what} is ${String(mine)}, not ${String(wanted)}`);
  };
  say('access', command.access, expectedAccess(theirs.roles));
  say('asynchronous', isAsync(command), theirs.isasync);
  say('id at once', command.reply.kind === 'job' && command.reply.create, theirs.asynccreate ?? false);
  say('envelope', envelopeOf(command), theirs.envelope ?? `${theirs.name.toLowerCase()}response`);
  say('key', keyOf(command) ?? undefined, theirs.key);
  say('object', viewOf(command)?.object ?? 'SuccessResponse', theirs.response);
  for (const [name, param] of Object.entries(command.params)) {
    const wanted = theirs.params.find((each) => each.name === name);
    problems.push(...paramProblems(name, param, wanted, command.access));
  }
  for (const { name, required } of theirs.params) {
    if (required && !command.params[name]) problems.push(`parameter ${name} is required and not declared`);
  }
  const view = viewOf(command);
  const table = objectOf(theirs.response);
  if (view && table) problems.push(...fieldProblems('', view.fields, table));
  return problems;
};
