/** The one system VM template and the payload ISO, as files of the management server that hosts fetch over mutual TLS. */
import { readFile, stat } from 'node:fs/promises';
import { IsNull } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import { newId } from '../../protocol/ids.ts';
import { type Id, type Infer, parse, s } from '../../protocol/schema.ts';
import { systemAccount } from '../account/index.ts';
import type { Config } from '../config.ts';
import type { Services } from '../core/services.ts';
import { zones } from '../infra/index.ts';
import { storedImages, templates } from '../template/index.ts';

const File = s.object({ path: s.string({ max: 1000 }), sha256: s.sha256(), sizeBytes: s.int() });
export const SystemTemplate = s.object({
  name: s.string(),
  qcow2: s.object({ ...File.shape, virtualSizeBytes: s.int() }),
  kernel: File,
  initrd: File,
  iso: s.object({ ...File.shape, version: s.string({ max: 80 }) }),
  bootParameters: s.object({ kvm: s.list(s.string()), emulated: s.list(s.string()) }),
});
export type SystemTemplate = Infer<typeof SystemTemplate>;

let read: { path: string; modifiedMs: number; template: SystemTemplate } | null = null;

/** What the configuration names now, read again when the file has changed; null where there is none. */
export async function systemTemplate({ systemTemplate: path }: Pick<Config, 'systemTemplate'>): Promise<SystemTemplate | null> {
  if (!path) return null;
  const { mtimeMs } = await stat(path);
  if (read?.path !== path || read.modifiedMs !== mtimeMs) {
    read = { path, modifiedMs: mtimeMs, template: parse(SystemTemplate, JSON.parse(await readFile(path, 'utf8')), path) };
  }
  return read.template;
}

/** Names under which hosts fetch and keep the files: they change with the content. */
export const bootFileNames = ({ kernel, initrd, iso }: SystemTemplate) => ({
  kernel: `kernel-${kernel.sha256}`,
  initrd: `initrd-${initrd.sha256}`,
  payload: `systemvm-${iso.sha256}.iso`,
});

/** Path of a file that hosts may fetch by this name, or null. */
export async function systemFile(config: Pick<Config, 'systemTemplate'>, name: string): Promise<string | null> {
  const template = await systemTemplate(config);
  if (!template) return null;
  const names = bootFileNames(template);
  const paths = new Map([
    [`${template.qcow2.sha256}.qcow2`, template.qcow2.path],
    [names.kernel, template.kernel.path],
    [names.initrd, template.initrd.path],
    [names.payload, template.iso.path],
  ]);
  return paths.get(name) ?? null;
}

/** Writes the template's rows: one template, ready in every zone. Repeatable. Returns its id, or null where all is simulated. */
export async function ensureSystemTemplate(services: Services): Promise<Id<'template'> | null> {
  const { db, config } = services;
  const file = await systemTemplate(config);
  if (!file) return null;
  const owner = await systemAccount(db.read);
  return db.transact(async (tx) => {
    const [known] = await tx.find(templates, { where: { type: 'SYSTEM', checksum: file.qcow2.sha256, removedAt: IsNull() } });
    const id = known?.id ?? newId('template');
    const now = new Date();
    if (!known) {
      await tx.insert(templates, {
        id,
        accountId: owner.id,
        domainId: owner.domainId,
        zoneId: null,
        name: 'SystemVM Template (KVM)',
        displayText: file.name,
        kind: 'template',
        type: 'SYSTEM',
        format: 'QCOW2',
        hypervisor: 'KVM',
        architecture: 'x86_64',
        osTypeId: null,
        url: null,
        checksum: file.qcow2.sha256,
        bootable: true,
        isPublic: false,
        isFeatured: false,
        isExtractable: false,
        passwordEnabled: false,
        sshKeyEnabled: false,
        dynamicallyScalable: false,
        requiresHvm: true,
        tag: null,
        details: {},
        state: 'Active',
        createdAt: now,
        removedAt: null,
      });
    }
    for (const zone of await tx.find(zones, { where: { removedAt: IsNull() } })) {
      if ((await tx.countBy(storedImages, { templateId: id, zoneId: zone.id, removedAt: IsNull() })) > 0) continue;
      await tx.insert(storedImages, {
        id: newId('storedImage'),
        templateId: id,
        zoneId: zone.id,
        storeId: null,
        state: 'DOWNLOADED',
        generation: 0,
        percent: 100,
        error: null,
        sizeBytes: file.qcow2.sizeBytes,
        virtualSizeBytes: file.qcow2.virtualSizeBytes,
        sha256: file.qcow2.sha256,
        createdAt: now,
        updatedAt: now,
        removedAt: null,
      });
    }
    return id;
  });
}

export async function mustHaveTemplate(config: Pick<Config, 'systemTemplate'>): Promise<SystemTemplate> {
  const found = await systemTemplate(config);
  if (!found) throw new CloudError('ResourceUnavailable', 'there is no system VM template; set systemTemplate in the configuration');
  return found;
}
