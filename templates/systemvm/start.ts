/** The quick way to start a role's program: from a snapshot of node that is part of the template. */
import { transform } from 'esbuild';
import { CloudError } from '../../protocol/errors.ts';

/** The role's ES module as the CommonJS text that the snapshot can run. */
export async function toCommonJs(source: string, name: string): Promise<string> {
  try {
    const { code } = await transform(source, {
      format: 'cjs',
      platform: 'node',
      target: 'node20',
      sourcefile: name,
      define: { 'import.meta.url': JSON.stringify(`file:///run/payload/${name}`) },
      // The snapshot has no loader of modules; what node brings along can be had by require as well.
      supported: { 'dynamic-import': false },
      legalComments: 'none',
      logLevel: 'silent',
    });
    return code;
  } catch (cause) {
    throw new CloudError('InvalidParameter', `${name} cannot be a role's program; it must be an ES module without await at its top level`, {
      cause,
    });
  }
}
