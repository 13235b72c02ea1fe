/** `npm run down`: stops everything and keeps the data; with `--wipe` the machine is as it was, with `--packages` too its packages. */
import { rm } from 'node:fs/promises';
import { pathsOf, varDirectory } from './installation.ts';
import { labDown, labWipe } from './lab.ts';
import { removePackages, requireRoot } from './packages.ts';
import { stopProcess } from './processes.ts';
import { type Reporter, reporter } from './progress.ts';
import { stopServices, wipeServices, wipeTestServices } from './services.ts';

export async function down(
  varDir: string,
  { wipe, packages, steps }: { wipe: boolean; packages: boolean; steps: Reporter },
): Promise<void> {
  await steps.run('management server', () => stopProcess({ name: 'management', pidFile: pathsOf(varDir).managementPid, graceSeconds: 15 }));
  await steps.run('hosts', () => labDown({ varDir }));
  await steps.run('database', () => stopServices(varDir));
  if (!wipe) return;
  await steps.run('wipe', async (bar) => {
    await wipeTestServices();
    await wipeServices(varDir);
    await labWipe({ varDir });
    if (packages) await removePackages({ varDir, onProgress: (fraction, note) => bar.update(fraction, note) });
    await rm(varDir, { recursive: true, force: true });
  });
}

if (process.argv[1] && import.meta.url === new URL(`file://${process.argv[1]}`).href) {
  requireRoot('npm run down');
  const steps = reporter();
  const wipe = process.argv.includes('--wipe');
  try {
    await down(varDirectory, { wipe, packages: process.argv.includes('--packages'), steps });
    steps.say(wipe ? 'all is gone' : 'all is stopped; npm run up starts it again with its data');
    process.exit(0);
  } catch {
    // The step that failed has said so.
    process.exit(1);
  }
}
