/** The program that runs in the lab's internet; see http.ts. */
import { parseArgs } from 'node:util';
import { createInternetServer } from './http.ts';

const { values } = parseArgs({ options: { address: { type: 'string' }, port: { type: 'string' }, images: { type: 'string' } } });
if (values.address === undefined || values.port === undefined || values.images === undefined) {
  process.stderr.write('usage: serve --address A --port P --images DIRECTORY\n');
  process.exitCode = 64;
} else createInternetServer(values.images).listen(Number(values.port), values.address);
