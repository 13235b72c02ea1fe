import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CloudError } from '../protocol/errors.ts';
import { parseBootArguments } from './bootargs.ts';

const keyLine = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ cloud@nephos';
const words: Readonly<Record<string, string>> = {
  type: 'secondary-storage',
  name: 's-7-VM',
  id: '01890000-0000-7000-8000-000000000001',
  zone: '01890000-0000-7000-8000-000000000002',
  host: '198.18.0.1,198.18.0.2',
  port: '8250',
  token: 'Zm9yIHRlc3RzIG9ubHksIG5vdCBhIHRva2Vu',
  ca: 'ab'.repeat(32),
  authorized_key: Buffer.from(keyLine).toString('base64'),
  eth0ip: '169.254.3.4',
  eth0mask: '255.255.0.0',
  eth0role: 'control',
  eth0mac: '02:00:00:00:00:01',
  eth1ip: '198.18.0.50',
  eth1mask: '255.255.240.0',
  eth1role: 'management',
  eth1mac: '02:00:00:00:00:02',
  eth1mtu: '1450',
  eth2ip: '203.0.113.20',
  eth2mask: '255.255.255.0',
  eth2role: 'public',
  eth2mac: '02:00:00:00:00:03',
  gateway: '203.0.113.1',
  gatewaydev: 'eth2',
  mgmtcidr: '198.18.0.0/16,198.19.0.0/16',
  localgw: '198.18.0.1',
  dns1: '203.0.113.53',
  internaldns1: '198.18.0.53',
  domain: 'cloud.internal',
};
const line = (changes: Readonly<Record<string, string | null>> = {}, prefix = ''): string =>
  Object.entries({ ...words, ...changes })
    .flatMap(([key, value]) => (value === null ? [] : [`${prefix}${key}=${value}`]))
    .join(' ');
const kernelWords = 'console=ttyS0 console=tty0 quiet root=/dev/vda ro net.ifnames=0';
const refused = (text: string, expected: RegExp): void =>
  assert.throws(
    () => parseBootArguments(text),
    (error) => error instanceof CloudError && expected.test(error.message),
  );

describe('boot arguments', () => {
  test('SV-13: the words of the kernel command line become typed parameters, beside the kernel’s own words', () => {
    const parsed = parseBootArguments(`${kernelWords} ${line()}\n`);
    assert.equal(parsed.kind, 'secondary-storage');
    assert.deepEqual(parsed.servers, ['198.18.0.1:8250', '198.18.0.2:8250']);
    assert.equal(parsed.authorizedKey, keyLine);
    assert.deepEqual(parsed.defaultRoute, { gateway: '203.0.113.1', device: 'eth2' });
    assert.deepEqual(parsed.managementCidrs, ['198.18.0.0/16', '198.19.0.0/16']);
    assert.deepEqual(parsed.dnsServers, ['203.0.113.53']);
    assert.deepEqual(
      parsed.nics.map(({ device, role, address, prefix, mtu }) => [device, role, address, prefix, mtu]),
      [
        ['eth0', 'control', '169.254.3.4', 16, null],
        ['eth1', 'management', '198.18.0.50', 20, 1450],
        ['eth2', 'public', '203.0.113.20', 24, null],
      ],
    );
  });

  test('every word may carry the prefix that keeps the kernel from counting it', () => {
    assert.deepEqual(parseBootArguments(`${kernelWords} ${line({}, 'nephos.')}`), parseBootArguments(line()));
  });

  test('the token is a secret: it does not print', () => {
    const parsed = parseBootArguments(line());
    assert.equal(JSON.stringify(parsed).includes(String(words['token'])), false);
    assert.equal(parsed.token.reveal(), words['token']);
  });

  test('SV-13: an unknown type, and anything missing or malformed, is refused by name', () => {
    refused(line({ type: 'elbvm' }), /type "elbvm" is not known/);
    for (const key of ['type', 'name', 'id', 'zone', 'host', 'port', 'token', 'ca', 'authorized_key'])
      refused(line({ [key]: null }), new RegExp(`${key} is missing`));
    refused(line({ id: '7' }), /id must be an id/);
    refused(line({ port: '0' }), /port/);
    refused(line({ ca: 'AB'.repeat(32) }), /ca must be/);
    refused(line({ eth0mac: '02-00-00-00-00-01' }), /eth0mac must be a MAC/);
    refused(line({ eth1mask: '255.0.255.0' }), /eth1mask must be a network mask/);
    refused(line({ eth1mask: null }), /eth1mask must be a network mask/);
    refused(line({ eth1role: 'admin' }), /eth1role/);
    refused(line({ eth1role: 'control' }), /same role/);
    refused(line({ eth1mac: words['eth0mac'] ?? '' }), /same MAC/);
    refused(line({ eth0ip: null }), /control NIC with an address/);
    refused(line({ gatewaydev: 'eth7' }), /eth7 is not a NIC/);
    refused(line({ gatewaydev: null }), /given together/);
    refused(line({ mgmtcidr: '198.18.0.0' }), /mgmtcidr must be/);
    refused(line({ eth0color: 'red' }), /eth0color is not known/);
    refused(`${line()} type=router`, /type is given twice/);
    refused('', /type is missing.*token is missing/);
  });

  test('values that would mean something to a program behind are refused', () => {
    const hostile = ['$(id)', '`id`', '-oProxyCommand=x', "a'b", 'a"b', 'a;b', 'a,b', '../x', 'a\\nb', '{}', '0x7f.1'];
    const strictKeys = [
      'name',
      'host',
      'token',
      'ca',
      'authorized_key',
      'eth1ip',
      'eth1mac',
      'gateway',
      'localgw',
      'dns1',
      'domain',
      'mgmtcidr',
    ];
    for (const key of strictKeys)
      for (const value of hostile) {
        // A list of host names is what `host` takes.
        if (key === 'host' && value === 'a,b') continue;
        if ((key === 'domain' || key === 'name' || key === 'host') && value === '0x7f.1') continue;
        refused(line({ [key]: value }), new RegExp(key));
      }
    const twoKeys = Buffer.from(`${keyLine}\n${keyLine}`).toString('base64');
    refused(line({ authorized_key: twoKeys }), /authorized_key/);
    refused(line({ authorized_key: Buffer.from(`command="id" ${keyLine}`).toString('base64') }), /authorized_key/);
  });

  test('a NIC may wait for its address, and a management network may be on the link', () => {
    const parsed = parseBootArguments(line({ eth1ip: null, eth1mask: null, localgw: 'none' }));
    assert.equal(parsed.nics[1]?.address, null);
    assert.equal(parsed.localGateway, null);
  });
});
