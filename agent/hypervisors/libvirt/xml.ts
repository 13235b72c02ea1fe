/** A typed XML writer: the only way anything gets into a libvirt document. */
import { CloudError } from '../../../protocol/errors.ts';

export interface XmlElement {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: readonly (XmlElement | string)[];
}
type Value = string | number;
type Child = XmlElement | string | null;

/** Null attributes and children are left out. */
export function element(name: string, attributes: Readonly<Record<string, Value | null>> = {}, ...children: readonly Child[]): XmlElement {
  const given: Record<string, string> = {};
  for (const [key, value] of Object.entries(attributes)) if (value !== null) given[key] = String(value);
  return { name, attributes: given, children: children.filter((child) => child !== null) };
}

const NAME = /^[A-Za-z_][A-Za-z0-9_.:-]*$/;
// XML 1.0 has no way to write these, not even as references.
const UNWRITABLE = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|\p{Surrogate}/u;
const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&apos;',
  '\t': '&#9;',
  '\n': '&#10;',
  '\r': '&#13;',
};

function escaped(text: string): string {
  if (UNWRITABLE.test(text)) throw new CloudError('InvalidParameter', 'a value has a character that XML cannot carry');
  return text.replace(/[&<>"'\t\n\r]/g, (character) => ENTITIES[character] ?? character);
}

export function renderXml(root: XmlElement, indent = ''): string {
  for (const name of [root.name, ...Object.keys(root.attributes)]) {
    if (!NAME.test(name)) throw new CloudError('Internal', 'an XML name is not one', { name });
  }
  const attributes = Object.entries(root.attributes).map(([key, value]) => ` ${key}='${escaped(value)}'`);
  const open = `${indent}<${root.name}${attributes.join('')}`;
  if (root.children.length === 0) return `${open}/>\n`;
  const texts = root.children.filter((child) => typeof child === 'string');
  // An element has text or elements, never both, so that layout cannot change what a text says.
  if (texts.length === root.children.length) return `${open}>${texts.map(escaped).join('')}</${root.name}>\n`;
  if (texts.length > 0) throw new CloudError('Internal', 'an XML element mixes text and elements', { name: root.name });
  const children = root.children.map((child) => (typeof child === 'string' ? '' : renderXml(child, `${indent}  `)));
  return `${open}>\n${children.join('')}${indent}</${root.name}>\n`;
}
