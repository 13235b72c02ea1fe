/** Changing what is said of a template or ISO. */
import { CloudError } from '../../protocol/errors.ts';
import type { Context } from '../core/context.ts';
import { lock } from '../core/db.ts';
import { p } from '../core/params.ts';
import { type OsTypeRow, type TemplateRow, templates } from './entities.ts';
import { osTypeKind } from './kinds.ts';
import { architectures } from './register.ts';
import { loadTemplates, type TemplateShown } from './views.ts';

export const updateParams = {
  name: p.string('the new name'),
  displaytext: p.string('the new display text', { max: 4096 }),
  ostypeid: p.entity('the OS type of what is in it', osTypeKind, 'use'),
  bootable: p.boolean('true if machines can boot it'),
  arch: p.word('the CPU architecture it is for', architectures),
};
interface UpdateParams {
  readonly name?: string | undefined;
  readonly displaytext?: string | undefined;
  readonly ostypeid?: OsTypeRow | undefined;
  readonly bootable?: boolean | undefined;
  readonly arch?: TemplateRow['architecture'] | undefined;
}

export async function update(
  { db, caller }: Pick<Context, 'db' | 'caller'>,
  given: TemplateRow,
  { name, displaytext, ostypeid, bootable, arch }: UpdateParams,
  more: Partial<TemplateRow> = {},
): Promise<TemplateShown> {
  mustNotBeSystem(given);
  if (name !== undefined && name.trim() === '') throw new CloudError('InvalidParameter', 'the name is empty');
  const changes: Partial<TemplateRow> = {
    ...(name === undefined ? {} : { name: name.trim() }),
    ...(displaytext === undefined ? {} : { displayText: displaytext }),
    ...(ostypeid === undefined ? {} : { osTypeId: ostypeid.id }),
    ...(bootable === undefined ? {} : { bootable }),
    ...(arch === undefined ? {} : { architecture: arch }),
    ...more,
  };
  await db.transact(async (tx) => {
    const row = await lock(tx, templates, { id: given.id });
    if (!row || row.removedAt || row.state !== 'Active') throw new CloudError('WrongState', `the ${given.kind} is being deleted`);
    if (Object.keys(changes).length > 0) await tx.update(templates, { id: given.id }, changes as never);
  });
  const [shown] = await loadTemplates(db, { templateIds: [given.id] }, caller);
  if (!shown) throw new CloudError('Internal', 'the template was not found again');
  return shown;
}

export function mustNotBeSystem({ type }: Pick<TemplateRow, 'type'>): void {
  if (type === 'SYSTEM') throw new CloudError('InvalidParameter', 'this is the template of system VMs; the cloud keeps it by itself');
}
