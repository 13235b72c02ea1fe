import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkExpiry, isSigned, sign, stringToSign } from './signature.ts';

const SECRET = 'Sec-ret_0123456789';
const KEY = 'Api-Key_ABCdef';
const ZONE = '1e2f3a4b-0000-4000-8000-00000000000a';

test('MI-03 the vectors of the wire rules are reproduced', () => {
  const listZones: [string, string][] = [
    ['command', 'listZones'],
    ['response', 'json'],
    ['apikey', KEY],
  ];
  assert.equal(stringToSign(listZones, 'raw'), 'apikey=api-key_abcdef&command=listzones&response=json');
  assert.equal(sign(stringToSign(listZones, 'raw'), SECRET), 'sQRgYi8Bk61T9u/whnsxv/1IxzY=');

  const createNetwork: [string, string][] = [
    ['apiKey', KEY],
    ['command', 'createNetwork'],
    ['name', 'net one'],
    ['displaytext', "a+b & c/d=é*~(x)!'"],
    ['zoneid', ZONE],
    ['response', 'json'],
  ];
  assert.equal(
    stringToSign(createNetwork, 'raw'),
    'apikey=api-key_abcdef&command=createnetwork&displaytext=a%2bb%20%26%20c%2fd%3d%c3%a9*%7e%28x%29%21%27&name=net%20one&response=json&zoneid=1e2f3a4b-0000-4000-8000-00000000000a',
  );
  assert.equal(sign(stringToSign(createNetwork, 'raw'), SECRET), 'niGkcm2BWPg1Vuzu80XLJ5Y/uAM=');

  const deploy: [string, string][] = [
    ['apiKey', KEY],
    ['command', 'deployVirtualMachine'],
    ['details[0].cpuNumber', '2'],
    ['expires', '2030-01-02T03:04:05Z'],
    ['ipToNetworkList[0].ip', '10.1.1.5'],
    ['ipaddress', '10.1.1.6'],
    ['response', 'json'],
    ['signatureversion', '3'],
  ];
  const raw = '0vEwfSVqxFlJnbKsMHM8sPT6v4E=';
  const lower = 'O1hyk0sJLEZ7NiXXsDHTakKWxgc=';
  assert.equal(sign(stringToSign(deploy, 'raw'), SECRET), raw);
  assert.equal(sign(stringToSign(deploy, 'lower'), SECRET), lower);
  assert.ok(isSigned(deploy, raw, SECRET));
  assert.ok(isSigned(deploy, lower, SECRET));
});

test('MI-03 what clients leave unescaped is accepted and what was changed is not', () => {
  const params: [string, string][] = [
    ['apiKey', KEY],
    ['command', 'createNetwork'],
    ['name', 'a~b[c]*'],
  ];
  const tilde = sign('apikey=api-key_abcdef&command=createnetwork&name=a~b%5bc%5d*', SECRET);
  const brackets = sign('apikey=api-key_abcdef&command=createnetwork&name=a~b[c]*', SECRET);
  assert.ok(isSigned(params, tilde, SECRET));
  assert.ok(isSigned(params, brackets, SECRET));
  assert.ok(!isSigned([...params, ['id', '1']], tilde, SECRET), 'an added parameter');
  assert.ok(!isSigned(params.slice(0, 2), tilde, SECRET), 'a missing parameter');
  assert.ok(!isSigned(params, tilde, `${SECRET}x`), 'another secret');
  assert.ok(!isSigned(params, '', SECRET), 'no signature');
});

test('MI-03 expiry counts with signature version 3 only', () => {
  const now = Date.parse('2029-12-31T00:00:00Z');
  for (const form of [
    '2030-01-02T03:04:05+0000',
    '2030-01-02T03:04:05Z',
    '2030-01-02T03:04:05.123456Z',
    '2030-01-02T03:04:05Z+0000',
    '2030-01-02T03:04:05+00:00',
  ]) {
    checkExpiry('3', form, now);
    assert.throws(() => checkExpiry('3', form, Date.parse('2031-01-01T00:00:00Z')), /unable to verify/);
    checkExpiry('2', form, Date.parse('2031-01-01T00:00:00Z'));
  }
  assert.throws(() => checkExpiry('3', undefined, now), /unable to verify/);
  assert.throws(() => checkExpiry('3', 'tomorrow', now), /unable to verify/);
});
