/** Builds the system VM template and the payload ISO, and writes down where they are for the management server. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { fileSha256 } from '../templates/debian.ts';
import { bootParameters } from '../templates/systemvm/boot.ts';
import { buildSystemVmTemplate } from '../templates/systemvm/build.ts';
import { buildSystemVmIso } from '../templates/systemvm/iso.ts';
import type { Built } from '../tools/build.ts';
import { command } from './command.ts';
import { readJsonIfAny, writeJsonWhole } from './files.ts';
import { pathsOf } from './installation.ts';
import type { Bar } from './progress.ts';

const Facts = z.strictObject({ qcow2: z.string(), kernel: z.string(), initrd: z.string(), virtualSizeBytes: z.int() });

export async function prepareSystemTemplate(varDir: string, built: Built, bar: Bar): Promise<void> {
  const paths = pathsOf(varDir);
  const template = await buildSystemVmTemplate({ varDir, onProgress: ({ fraction, step }) => bar.update(fraction * 0.95, step) });
  bar.update(0.96, 'payload ISO');
  const iso = await buildSystemVmIso({ bundles: built.systemVm.paths, template, out: paths.iso });
  const { qcow2, kernel, initrd, virtualSizeBytes } = await factsOf(template.directory, template);
  const file = async (path: string, sha256: string) => ({ path, sha256, sizeBytes: (await stat(path)).size });
  await writeJsonWhole(paths.systemTemplate, {
    name: `Debian 13 system VM ${template.hash.slice(0, 12)}`,
    qcow2: { ...(await file(template.qcow2, qcow2)), virtualSizeBytes },
    kernel: await file(template.kernel, kernel),
    initrd: await file(template.initrd, initrd),
    iso: { ...(await file(iso.path, iso.sha256)), version: iso.version },
    bootParameters: { kvm: [...bootParameters('kvm')], emulated: [...bootParameters('emulated')] },
  });
}

/** Digests of the big files, reckoned once per build. */
async function factsOf(
  directory: string,
  { qcow2, kernel, initrd }: { qcow2: string; kernel: string; initrd: string },
): Promise<z.infer<typeof Facts>> {
  const path = join(directory, 'facts.json');
  const known = await readJsonIfAny(path, Facts);
  if (known) return known;
  const { stdout } = await command('qemu-img', ['info', '--output=json', '--', qcow2], { timeoutSeconds: 30 });
  const facts = {
    qcow2: await fileSha256(qcow2),
    kernel: await fileSha256(kernel),
    initrd: await fileSha256(initrd),
    virtualSizeBytes: Number(/"virtual-size": (\d+)/.exec(stdout)?.[1]),
  };
  await writeJsonWhole(path, facts);
  return facts;
}
