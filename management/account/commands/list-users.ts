import { command, reply } from '../../core/command.ts';
import { isRootAdmin } from '../../core/context.ts';
import { list, ownerParams, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { userKind } from '../principals.ts';
import { loadUsers, userView } from '../views.ts';
import { typeByNumber } from './create-account.ts';

export const listUsers = command({
  name: 'listUsers',
  about: 'Lists users.',
  access: 'user',
  params: {
    ...pageParams,
    ...ownerParams,
    id: p.entity('only this user', userKind, 'list'),
    username: p.string('only the user of this name'),
    accounttype: p.integer('only users of accounts of this type: 0 user, 1 root admin, 2 domain admin'),
    state: p.word('only users in this state', ['enabled', 'disabled', 'locked']),
  },
  reply: reply.list(userView),
  run: (context, params) =>
    list(context, params, {
      from: '(SELECT u.*, a.domain_id, a.type AS account_type FROM `user` u JOIN account a ON a.id = u.account_id) t',
      where: [
        where.sql('t.removed_at IS NULL'),
        isRootAdmin(context.caller) ? null : where.sql("t.account_type <> 'admin'"),
        context.caller.accountType === 'user' ? where.equal('t.id', context.caller.userId) : null,
        where.equal('t.id', params.id?.id),
        where.equal('t.name', params.username),
        where.equal('t.state', params.state),
        where.equal('t.account_type', params.accounttype === undefined ? undefined : typeByNumber(params.accounttype)),
      ],
      keyword: ['t.name', 't.first_name', 't.last_name', 't.email'],
      scope: { ...params, byId: params.id !== undefined },
      load: (ids) => loadUsers(context.db, ids),
    }),
});
