/** `npm run up`: from a clone to a running virtual machine. Run again, it goes on where it was. */
import { copyFile, link, mkdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { buildGuestTemplates, type GuestTemplate, guestNames } from '../templates/guest/catalogue.ts';
import { build } from '../tools/build.ts';
import {
  adminClient,
  consoleUrl,
  ensureDemoAccount,
  ensureFirstVm,
  ensureLabZone,
  ensureTemplate,
  hostsHeard,
  readDemo,
  systemVmsUp,
  templateReady,
} from './demo.ts';
import { writeJsonWhole } from './files.ts';
import { apiUrl, HTTP_PORT, managementConfig, pathsOf, root, varDirectory } from './installation.ts';
import { hostsOnSinceMs, labPaths, labUp } from './lab.ts';
import { ensurePackages, requireRoot } from './packages.ts';
import { type ProcessIdentity, startedAtMs } from './pids.ts';
import { processOf, startProcess, stopProcess } from './processes.ts';
import { type Reporter, reporter } from './progress.ts';
import { startServices } from './services.ts';
import { prepareSystemTemplate } from './system-template.ts';

const SYSTEM_VM_SECONDS = 600;
const AGENT_SECONDS = 120;

export interface UpOptions {
  readonly varDir: string;
  readonly hosts: number;
  /** Which guest templates are built and registered; the first one is what the first virtual machine is made from. */
  readonly guests: readonly (typeof guestNames)[number][];
  readonly steps: Reporter;
}

/** Starts the management server from the build, or leaves it when it is that build that runs. */
export async function startManagementServer(varDir: string, buildVersion: string, programPath: string): Promise<ProcessIdentity> {
  const paths = pathsOf(varDir);
  const answers = async () => (await fetch(`http://127.0.0.1:${HTTP_PORT}/healthz`, { signal: AbortSignal.timeout(2000) })).ok;
  const marker = `--build=${buildVersion}`;
  const spec = {
    name: 'management',
    pidFile: paths.managementPid,
    logFile: paths.managementLog,
    file: process.execPath,
    args: ['--max-old-space-size=200', programPath, paths.config, marker],
    directory: root,
    ready: answers,
    readyTimeoutSeconds: 60,
  };
  const running = await processOf(paths.managementPid);
  if (running && !(await isBuild(running.pid, marker)))
    await stopProcess({ name: 'management', pidFile: paths.managementPid, graceSeconds: 15 });
  return (await startProcess(spec)).identity;
}

const isBuild = async (pid: number, marker: string): Promise<boolean> => {
  return (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0').includes(marker);
};

/** Puts the guest templates where the lab's image server finds them. */
async function publish(varDir: string, guests: readonly GuestTemplate[]): Promise<void> {
  const { images } = labPaths(varDir);
  await mkdir(images, { recursive: true });
  for (const { name, sha256, file, sizeBytes } of guests) {
    const target = join(images, `${name}-${sha256.slice(0, 12)}.qcow2`);
    const known = await stat(target).catch(() => null);
    if (known?.size === sizeBytes) continue;
    await rm(target, { force: true });
    await link(file, target).catch(() => copyFile(file, target));
  }
}

export async function up({ varDir, hosts, guests, steps }: UpOptions): Promise<{ vmId: string }> {
  await steps.run('packages', (bar) => ensurePackages({ varDir, onProgress: (fraction, note) => bar.update(fraction, note) }));
  const built = await steps.run('build', () => build());
  const made = await steps.run('templates', async (bar) => {
    await prepareSystemTemplate(varDir, built, { update: (fraction, note) => bar.update(fraction * 0.5, note) });
    return buildGuestTemplates({ varDir, which: guests, onProgress: ({ fraction, step }) => bar.update(0.5 + fraction * 0.5, step) });
  });
  const connections = await steps.run('database', () => startServices({ varDir }));
  await steps.run('hosts', (bar) => labUp({ varDir, hosts, onProgress: (fraction: number, note: string) => bar.update(fraction, note) }));
  await publish(varDir, made);
  const { admin, managementSinceMs } = await steps.run('management server', async () => {
    await writeJsonWhole(pathsOf(varDir).config, managementConfig(varDir, connections), 0o600);
    const server = await startManagementServer(varDir, built.management.version, built.management.path);
    return { admin: await adminClient(varDir), managementSinceMs: await startedAtMs(server) };
  });
  const zoneId = await steps.run('zone', (bar) => ensureLabZone(varDir, admin, hosts, (what) => bar.update(0.5, what)));
  const sinceMs = Math.max(await hostsOnSinceMs(varDir, hosts), managementSinceMs);
  await steps.run('agents', (bar) => hostsHeard(admin, zoneId, sinceMs, (fraction, note) => bar.update(fraction, note), AGENT_SECONDS));
  const demo = await ensureDemoAccount(varDir, admin);
  const templateIds: string[] = [];
  for (const guest of made) templateIds.push(await ensureTemplate(admin, zoneId, guest));
  await steps.run('system VMs', (bar) => systemVmsUp(admin, zoneId, (fraction, note) => bar.update(fraction, note), SYSTEM_VM_SECONDS));
  const firstTemplate = templateIds[0] ?? '';
  await steps.run('template', (bar) =>
    templateReady(admin, firstTemplate, zoneId, (fraction, note) => bar.update(fraction, note), SYSTEM_VM_SECONDS),
  );
  const vm = await steps.run('first VM', (bar) =>
    ensureFirstVm(varDir, demo.client, zoneId, firstTemplate, (fraction, note) => bar.update(fraction, note)),
  );
  return { vmId: vm.id };
}

/** What a person wants to know at the end. */
export async function summary(varDir: string, vmId: string): Promise<string> {
  const admin = await adminClient(varDir);
  const demo = await ensureDemoAccount(varDir, admin);
  const known = await readDemo(varDir);
  const [vm] = await demo.client.list('listVirtualMachines', { id: vmId });
  const console = await consoleUrl(demo.client, vmId);
  return [
    '',
    `  API                 ${apiUrl}`,
    `  web                 http://127.0.0.1:${HTTP_PORT}/`,
    `  administrator       admin, password in ${pathsOf(varDir).adminPassword}`,
    `  tenant              ${demo.username} / ${demo.password}`,
    `  tenant's API key    ${known.demo?.keys.apiKey ?? ''}`,
    `  tenant's secret key ${known.demo?.keys.secretKey ?? ''}`,
    `  first VM            ${vm.name}, ${vm.ipaddress}, ${vm.state}`,
    `  its console, once   ${console}`,
    '',
  ].join('\n');
}

if (process.argv[1] && import.meta.url === new URL(`file://${process.argv[1]}`).href) {
  const varDir = varDirectory;
  const steps = reporter();
  try {
    requireRoot('npm run up');
    const firstTime = (await stat(pathsOf(varDir).demo).catch(() => null)) === null;
    const { vmId } = await up({ varDir, hosts: 2, guests: guestNames, steps });
    const text = await summary(varDir, vmId);
    if (firstTime) {
      steps.say(`  administrator's password, shown this once: ${(await readFile(pathsOf(varDir).adminPassword, 'utf8')).trim()}`);
    }
    steps.say(text);
    steps.say(`up in ${Math.round(steps.elapsedSeconds())} s; npm run status shows what runs, npm run down stops it`);
    process.exit(0);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    // The step that failed has printed what failed, where its log is and what to do.
    process.exitCode = 1;
    if (process.env['NEPHOS_DEBUG']) console.error(error);
    process.exit(1);
  }
}
