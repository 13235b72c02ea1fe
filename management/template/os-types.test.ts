import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isUuid } from '../../protocol/schema.ts';
import { catalogue, nameId } from './os-types.ts';

test('every OS type has a name and an id of its own, the same at every start', () => {
  assert.ok(catalogue.every(({ id, categoryId }) => isUuid(id) && isUuid(categoryId)));
  assert.equal(new Set(catalogue.map(({ id }) => id)).size, catalogue.length);
  assert.equal(new Set(catalogue.map(({ name }) => name)).size, catalogue.length);
  for (const name of [
    'Debian GNU/Linux 12 (64-bit)',
    'Ubuntu 24.04 LTS',
    'Rocky Linux 9',
    'Windows Server 2022 (64-bit)',
    'Other Linux (64-bit)',
  ])
    assert.ok(
      catalogue.some((row) => row.name === name),
      name,
    );
  // Written down once: an id must not change between releases.
  assert.equal(nameId('osType', 'Other Linux (64-bit)'), '3fa0345f-9628-8e12-826f-2fc7ddafada0');
  assert.notEqual(nameId('osType', 'Other'), nameId('osCategory', 'Other'));
});
