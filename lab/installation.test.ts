import assert from 'node:assert/strict';
import test from 'node:test';
import { managementConfig } from './installation.ts';

test('the API is heard on every address of the machine, or on its own only', (t) => {
  const before = process.env['NEPHOS_HTTP_ADDRESS'];
  t.after(() => {
    if (before === undefined) delete process.env['NEPHOS_HTTP_ADDRESS'];
    else process.env['NEPHOS_HTTP_ADDRESS'] = before;
  });
  const connections = { database: { socketPath: '/s', user: 'u', password: 'p', database: 'd' }, redis: { path: '/r' } };
  const address = () => managementConfig('/var/x', connections).http.address;
  delete process.env['NEPHOS_HTTP_ADDRESS'];
  assert.equal(address(), '0.0.0.0');
  process.env['NEPHOS_HTTP_ADDRESS'] = '127.0.0.1';
  assert.equal(address(), '127.0.0.1');
  process.env['NEPHOS_HTTP_ADDRESS'] = 'example.org';
  assert.throws(address, { code: 'InvalidParameter' });
});
