/** What the console proxy's bundle needs beyond the usual: the page's files, built and carried inside. */
import type { Plugin } from 'esbuild';
import { buildPage } from './page/build.ts';

export const bundlePlugins: readonly Plugin[] = [
  {
    name: 'console page',
    setup(build) {
      build.onLoad({ filter: /[\\/]console-proxy[\\/]page[\\/]files\.ts$/ }, async () => ({
        contents: `const files = ${JSON.stringify(await buildPage())};\nexport const pageFiles = async () => files;\n`,
        loader: 'js',
      }));
    },
  },
];
