/** Who may use a template or ISO beside its owner. */
import { In } from 'typeorm';
import { CloudError } from '../../protocol/errors.ts';
import { type Context, isRootAdmin } from '../core/context.ts';
import { lock } from '../core/db.ts';
import { accounts } from '../core/owners.ts';
import { p } from '../core/params.ts';
import { f, view } from '../core/view.ts';
import { type TemplateRow, templateGrants, templates } from './entities.ts';
import { checkMayPublish } from './register.ts';
import { mustNotBeSystem } from './update.ts';

export interface Permissions {
  readonly template: TemplateRow;
  readonly accountNames: readonly string[];
}
export const permissionsView = view<Permissions>('TemplatePermissionsResponse', 'templatepermission', {
  id: f.string('the id of the template', ({ template }) => template.id),
  ispublic: f.boolean('true if every account may use it', ({ template }) => template.isPublic),
  domainid: f.string('the domain of its owner, and of the accounts', ({ template }) => template.domainId),
  account: f.texts('the accounts that may use it', ({ accountNames }) => accountNames),
});

export async function permissionsOf({ db }: Pick<Context, 'db'>, template: TemplateRow): Promise<Permissions> {
  const rows = await db.rows<{ name: string }>(
    'SELECT a.name AS name FROM template_grant g JOIN account a ON a.id = g.account_id WHERE g.template_id = ? AND a.removed_at IS NULL ORDER BY a.name',
    [template.id],
  );
  return { template, accountNames: rows.map(({ name }) => name) };
}

export const permissionParams = {
  op: p.word('what to do with the accounts: add, remove, or reset for none at all and not public', ['add', 'remove', 'reset']),
  accounts: p.texts('names of accounts in the domain of the owner'),
  ispublic: p.boolean('true if every account may use it'),
  isfeatured: p.boolean('true if it is a featured one; only root admins can say so'),
};
interface PermissionParams {
  readonly op?: 'add' | 'remove' | 'reset' | undefined;
  readonly accounts?: readonly string[] | undefined;
  readonly ispublic?: boolean | undefined;
  readonly isfeatured?: boolean | undefined;
}

export async function updatePermissions(
  context: Context,
  given: TemplateRow,
  { op, accounts: names = [], ispublic, isfeatured }: PermissionParams,
): Promise<void> {
  mustNotBeSystem(given);
  if (isfeatured !== undefined && !isRootAdmin(context.caller))
    throw new CloudError('Forbidden', 'isfeatured can be given by root admins only');
  if (ispublic === true) checkMayPublish(context, given);
  if (names.length > 0 && op !== 'add' && op !== 'remove')
    throw new CloudError('InvalidParameter', 'accounts go together with op=add or op=remove');
  if ((op === 'add' || op === 'remove') && names.length === 0) throw new CloudError('InvalidParameter', `op=${op} needs accounts`);
  await context.db.transact(async (tx) => {
    const row = await lock(tx, templates, { id: given.id });
    if (!row || row.removedAt || row.state !== 'Active') throw new CloudError('WrongState', `the ${given.kind} is being deleted`);
    // Accounts of removed ones are taken out with their names still known.
    const found = names.length === 0 ? [] : await tx.findBy(accounts, { domainId: row.domainId, name: In([...names]) });
    const meant = found.filter(({ removedAt }) => op === 'remove' || removedAt === null);
    const known = new Set(meant.map(({ name }) => name.toLowerCase()));
    const unknown = names.find((name) => !known.has(name.toLowerCase()));
    if (unknown !== undefined)
      throw new CloudError('InvalidParameter', `Unable to find account ${unknown.slice(0, 100)} in the domain of the owner`);
    for (const { id: accountId } of meant) {
      if (op === 'remove') await tx.delete(templateGrants, { templateId: row.id, accountId });
      else if (accountId !== row.accountId)
        await tx.query('INSERT IGNORE INTO template_grant (template_id, account_id) VALUES (?, ?)', [row.id, accountId]);
    }
    if (op === 'reset') await tx.delete(templateGrants, { templateId: row.id });
    const isPublic = ispublic ?? (op === 'reset' ? false : row.isPublic);
    await tx.update(templates, { id: row.id }, { isPublic, isFeatured: isfeatured ?? row.isFeatured });
  });
}
