/** Checksums as users give them: `{SHA-256}hex`, or hexadecimal alone whose length tells the algorithm. */
import { CloudError } from '../../protocol/errors.ts';

const algorithms = [
  { name: 'MD5', node: 'md5', digits: 32 },
  { name: 'SHA-1', node: 'sha1', digits: 40 },
  { name: 'SHA-224', node: 'sha224', digits: 56 },
  { name: 'SHA-256', node: 'sha256', digits: 64 },
  { name: 'SHA-384', node: 'sha384', digits: 96 },
  { name: 'SHA-512', node: 'sha512', digits: 128 },
] as const;

export interface Checksum {
  readonly name: (typeof algorithms)[number]['name'];
  /** Node's name of the algorithm. */
  readonly algorithm: (typeof algorithms)[number]['node'];
  readonly hex: string;
}

export function parseChecksum(text: string): Checksum {
  const match = /^(?:\{([A-Za-z0-9-]+)\})?([0-9A-Fa-f]+)$/.exec(text.trim());
  if (match === null) throw new CloudError('InvalidParameter', 'the checksum must be hexadecimal, or {ALGORITHM} and hexadecimal');
  const [, named, digits = ''] = match;
  const plain = (name: string): string => name.toUpperCase().replaceAll('-', '');
  const found = algorithms.find(({ name, digits: length }) =>
    named === undefined ? digits.length === length : plain(name) === plain(named) && digits.length === length,
  );
  if (found === undefined)
    throw new CloudError(
      'InvalidParameter',
      named === undefined ? 'the checksum has the length of no known algorithm' : `the checksum is not one of algorithm ${named}`,
    );
  return { name: found.name, algorithm: found.node, hex: digits.toLowerCase() };
}
