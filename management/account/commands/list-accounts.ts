import { command, reply } from '../../core/command.ts';
import { isRootAdmin } from '../../core/context.ts';
import { list, ownerParams, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { SYSTEM_ACCOUNT } from '../accounts.ts';
import { accountKind } from '../principals.ts';
import { accountView, loadAccounts } from '../views.ts';
import { typeByNumber } from './create-account.ts';

const { domainid, isrecursive, listall } = ownerParams;

export const listAccounts = command({
  name: 'listAccounts',
  about: 'Lists accounts with their users and what they have.',
  access: 'user',
  params: {
    ...pageParams,
    domainid,
    isrecursive,
    listall,
    id: p.entity('only this account', accountKind, 'list'),
    name: p.string('only the account of this name'),
    accounttype: p.integer('only accounts of this type: 0 user, 1 root admin, 2 domain admin'),
    state: p.word('only accounts in this state', ['enabled', 'disabled', 'locked']),
  },
  reply: reply.list(accountView),
  run: (context, params) =>
    list(context, params, {
      from: '(SELECT a.*, a.id AS account_id FROM account a) t',
      where: [
        where.sql('t.removed_at IS NULL'),
        where.sql("NOT (t.name = ? AND t.type = 'admin')", SYSTEM_ACCOUNT),
        // A domain admin does not see those who may do more than he.
        isRootAdmin(context.caller) ? null : where.sql("t.type <> 'admin'"),
        where.equal('t.id', params.id?.id),
        where.equal('t.name', params.name),
        where.equal('t.state', params.state),
        where.equal('t.type', params.accounttype === undefined ? undefined : typeByNumber(params.accounttype)),
      ],
      keyword: ['t.name'],
      scope: { ...params, byId: params.id !== undefined },
      load: async (ids) => {
        const { caller, db } = context;
        const loaded = await loadAccounts(db, ids);
        // A plain user sees no other user, not even of his own account.
        return caller.accountType !== 'user'
          ? loaded
          : loaded.map((row) => ({ ...row, users: row.users.filter(({ id }) => id === caller.userId) }));
      },
    }),
});
