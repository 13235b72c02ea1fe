/** Holds every offered command against the contract of the API: one test per command, titled with its name. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type AnyCommand, command, registry, reply } from '../../management/core/command.ts';
import { p, required } from '../../management/core/params.ts';
import { f, view } from '../../management/core/view.ts';
import { offeredCommands } from '../../tools/offered.ts';
import { contract, deviations, ownCommands, tiers } from './contract.ts';

/** Deviations that stay, each with its reason; what is no deviation any more must leave this list. */
const exceptions: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  login: { 'access is public, not admin': 'the contract lists no roles for commands that need no login' },
  listTrafficTypes: {
    'object is TrafficTypeResponse, not ProviderResponse':
      'the contract names the object of another command; clients read that of addTrafficType',
    'field traffictype is not in the contract': 'as above',
    'field kvmnetworklabel is not in the contract': 'as above',
  },
  logout: { 'access is public, not admin': 'the contract lists no roles for commands that need no login' },
};

describe('offered command keeps the contract', () => {
  for (const each of offeredCommands()) {
    test(each.name, () => {
      const excused = Object.keys(exceptions[each.name] ?? {});
      const found = deviations(each);
      assert.deepEqual(
        found.filter((words) => !excused.includes(words)),
        [],
      );
      assert.deepEqual(
        excused.filter((words) => !found.includes(words)),
        [],
        'excused though it does not deviate',
      );
    });
  }
});

test('exceptions and commands of our own name offered commands', () => {
  const names = offeredCommands().map(({ name }) => name);
  assert.deepEqual(
    [...Object.keys(exceptions), ...Object.keys(ownCommands)].filter((name) => !names.includes(name)),
    [],
  );
});

test('no two parameters or commands differ in capitals alone', () => {
  const commands = offeredCommands();
  assert.equal(registry(commands).commands.length, commands.length);
  assert.equal(new Set(commands.map(({ name }) => name.toLowerCase())).size, commands.length);
  for (const { name, params } of commands) {
    assert.equal(new Set(Object.keys(params).map((each) => each.toLowerCase())).size, Object.keys(params).length, name);
  }
});

test('the contract is whole: every command has its object and one tier', () => {
  const tiered = Object.values(tiers).flat();
  assert.deepEqual([...tiered].sort(), contract.commands.map(({ name }) => name).sort());
  assert.deepEqual(
    contract.commands.filter(({ response }) => contract.objects[response] === undefined),
    [],
  );
});

describe('a deviation is seen', () => {
  interface Pod {
    readonly id: string;
    readonly count: number;
  }
  const podView = view<Pod>('PodResponse', 'pod', { id: f.string('the id', ({ id }) => id) });
  const run = async (): Promise<Pod> => ({ id: 'x', count: 1 });
  const params = {
    name: required(p.string('a name')),
    zoneid: required(p.string('not an id')),
  };
  const good = { name: 'createPod', about: 'Creates a pod.', access: 'admin', params: {}, reply: reply.one(podView), run } as const;
  const of = (given: unknown): string[] => deviations(given as AnyCommand);

  test('in name, access, envelope, key, object, kind of reply', () => {
    assert.deepEqual(of(command({ ...good, name: 'createPodd' })), ['createPodd is not in the contract']);
    assert.ok(of(command({ ...good, access: 'user' })).includes('access is user, not admin'));
    assert.ok(of(command({ ...good, envelope: 'podresponse' })).includes('envelope is podresponse, not createpodresponse'));
    assert.ok(of(command({ ...good, reply: reply.one(podView, 'pods') })).includes('key is pods, not pod'));
    assert.ok(
      of(command({ ...good, reply: reply.one(view<Pod>('ZoneResponse', 'pod', {})) })).includes('object is ZoneResponse, not PodResponse'),
    );
    const job = of({ ...good, reply: reply.job(podView, { create: true }) });
    assert.ok(job.includes('asynchronous is true, not false') && job.includes('id at once is true, not false'));
  });

  test('in a command of our own that takes names of the contract', () => {
    const own = { ...good, name: 'listSystemVmBoots', envelope: 'elsewhere', params: { 'two-words': p.string('a name') } } as const;
    assert.deepEqual(of(command(own)), [
      'PodResponse is an object of the contract',
      'the envelope is not made of the name',
      'two-words is not written as names of the contract are',
    ]);
    assert.deepEqual(of(command({ ...good, name: 'createPods' })), ['createPods is not in the contract']);
  });

  test('in parameters', () => {
    const found = of(command({ ...good, params: { ...params, nosuch: p.string('unknown'), gateway: p.string('long', { max: 300 }) } }));
    assert.ok(found.includes('parameter zoneid: type is string, not uuid'));
    assert.ok(found.includes('parameter nosuch is not in the contract'));
    assert.ok(found.includes('parameter gateway: length is 300, not 255'));
    assert.ok(of(command(good)).includes('parameter name is required and not declared'));
    assert.ok(of(command({ ...good, params: { name: p.string('a name') } })).includes('parameter name: required is false, not true'));
  });

  test('in fields, also of nested objects', () => {
    const wrong = view<Pod>('PodResponse', 'pod', {
      nosuch: f.string('unknown', ({ id }) => id),
      id: f.integer('a number', ({ count }) => count),
      capacity: f.list('nested', () => [{ count: 1 }], {
        percentused: f.long('a text in the contract', ({ count }: { count: number }) => count),
      }),
    });
    const found = of(command({ ...good, reply: reply.one(wrong) }));
    assert.ok(found.includes('field nosuch is not in the contract'));
    assert.ok(found.includes('field id: type is integer, not string'));
    assert.ok(found.includes('field capacity.percentused: type is long, not string'));
  });
});
