import assert from 'node:assert/strict';
import { test } from 'node:test';
import { XMLParser } from 'fast-xml-parser';
import { element, renderXml } from './xml.ts';

const hostile = [
  `'/><disk type='block'><source dev='/dev/sda'/></disk><x a='`,
  '"><qemu:commandline>',
  ']]><!-- --><![CDATA[',
  '&amp;&lt;&#x27;%parameter;',
  '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/shadow">]>&e;',
  '$(reboot)`reboot`;reboot',
  'line\nbreak\ttab\rreturn',
  '--option',
  'ünïcödé 🖥',
  '\u2028\u2029',
];
const parser = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: '@',
  trimValues: false,
  parseTagValue: false,
  parseAttributeValue: false,
  processEntities: { enabled: true, maxTotalExpansions: 100_000 },
  htmlEntities: true,
});

const isElement = (key: string): boolean => key !== '#text';

test('every value comes back as it went in, as attribute and as text', () => {
  for (const value of hostile) {
    const read = parser.parse(renderXml(element('a', {}, element('b', { v: value }), element('c', {}, value))));
    assert.equal(read.a.b['@v'], value);
    assert.equal(read.a.c, value);
    assert.deepEqual(Object.keys(read.a).filter(isElement), ['b', 'c']);
  }
});

test('random values come back as they went in', () => {
  const pieces = [...hostile.join(''), ...`<>&'"/=[]!-;#x0\\ `];
  let seed = 1;
  const random = (limit: number): number => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed % limit;
  };
  for (let round = 0; round < 2000; round += 1) {
    const value = `.${Array.from({ length: 1 + random(20) }, () => pieces[random(pieces.length)] ?? '').join('')}.`;
    const read = parser.parse(renderXml(element('a', {}, element('b', { v: value }), element('c', {}, value))));
    assert.deepEqual(
      { v: read.a.b['@v'], c: read.a.c, keys: Object.keys(read.a).filter(isElement).length },
      { v: value, c: value, keys: 2 },
    );
  }
});

test('what XML cannot carry is refused', () => {
  for (const value of ['\0', '\u001b[2J', '\ud800', '\uffff']) {
    assert.throws(() => renderXml(element('a', { v: value })), { code: 'InvalidParameter' });
    assert.throws(() => renderXml(element('a', {}, value)), { code: 'InvalidParameter' });
  }
  assert.throws(() => renderXml(element('a b')), { code: 'Internal' });
  assert.throws(() => renderXml(element('a', { 'x=1 y': 'v' })), { code: 'Internal' });
});
