import assert from 'node:assert/strict';
import test from 'node:test';
import { XMLParser, XMLValidator } from 'fast-xml-parser';
import { serialize } from './wire.ts';

const versioned = { versioned: true };

test('names and texts that users choose cannot change the shape of an XML reply', () => {
  const details: Record<string, string> = {
    'a><admin>true</admin><b': 'x',
    '@_attribute': 'x',
    '#text': 'x',
    '?xml': 'x',
    '1st': 'x',
    'two words': 'x',
    '': 'x',
    rootDiskController: 'virtio',
  };
  Object.defineProperty(details, '__proto__', { value: 'x', enumerable: true });
  const text = serialize(
    'xml',
    'listthingsresponse',
    { count: 1, thing: [{ name: '<b>&"\'', details, note: 'a\u0000b\uffffc\ud800d\ne' }] },
    versioned,
  );
  assert.equal(XMLValidator.validate(text), true, text);
  const { listthingsresponse: body } = new XMLParser().parse(text.replaceAll('__proto__', 'proto'));
  assert.equal(body.thing.name, '<b>&"\'');
  assert.equal(body.thing.details.rootDiskController, 'virtio');
  assert.equal(body.thing.note, 'abcd\ne');
  assert.ok(!text.includes('<admin>'), text);
  assert.ok(!/attribute=/.test(text), text);
  assert.equal(body.admin, undefined);
});

test('lists, nested lists, booleans and numbers in XML', () => {
  const text = serialize(
    'xml',
    'x',
    {
      count: 2,
      zone: [
        { a: true, n: [1, 2] },
        { a: false, o: { p: [] } },
      ],
    },
    { versioned: false },
  );
  assert.equal(
    text,
    '<?xml version="1.0" encoding="UTF-8"?><x><count>2</count><zone><a>true</a><n>1</n><n>2</n></zone><zone><a>false</a><o></o></zone></x>',
  );
  assert.equal(
    serialize('xml', 'listzonesresponse', {}, versioned),
    '<?xml version="1.0" encoding="UTF-8"?><listzonesresponse cloud-stack-version="4.22.0.0"></listzonesresponse>',
  );
});
