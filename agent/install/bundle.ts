/** The agent as one file that needs nothing beside it but node. */
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { CloudError } from '../../protocol/errors.ts';

export async function bundleAgent(): Promise<Uint8Array> {
  const result = await build({
    entryPoints: [fileURLToPath(new URL('../main.ts', import.meta.url))],
    bundle: true,
    write: false,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    legalComments: 'none',
    logLevel: 'silent',
    // Packages written for CommonJS ask for node's own modules by require, which a module does not have.
    banner: { js: "import { createRequire } from 'node:module';\nconst require = createRequire(import.meta.url);" },
  });
  const [file] = result.outputFiles;
  if (!file) throw new CloudError('Internal', 'the agent could not be bundled');
  return file.contents;
}
