/** Builds the files that a browser loads. Needs esbuild, so it runs where things are built and never inside a system VM. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { CloudError } from '../../protocol/errors.ts';
import type { PageFiles } from './files.ts';

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

export async function buildPage(): Promise<PageFiles> {
  const result = await build({
    entryPoints: [here('app.ts')],
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    platform: 'browser',
    legalComments: 'inline',
    logLevel: 'silent',
    banner: {
      js: '/*! Contains noVNC (https://github.com/novnc/noVNC), Copyright (C) The noVNC authors, under the Mozilla Public License 2.0. */',
    },
  });
  const script = result.outputFiles[0]?.text;
  if (script === undefined) throw new CloudError('Internal', 'the console page could not be built');
  const [html, css] = await Promise.all(['vnc.html', 'vnc.css'].map((name) => readFile(here(name), 'utf8')));
  return { 'vnc.html': html ?? '', 'vnc.css': css ?? '', 'vnc.js': script };
}
