import { In } from 'typeorm';
import { command, reply } from '../../core/command.ts';
import { isRootAdmin } from '../../core/context.ts';
import { list, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { roles } from '../entities.ts';
import { roleKind } from '../principals.ts';
import { roleTypeShown, roleView } from '../views.ts';

export const listRoles = command({
  name: 'listRoles',
  about: 'Lists the roles that the caller may give to an account.',
  access: 'domainAdmin',
  params: {
    ...pageParams,
    id: p.entity('only this role', roleKind, 'list'),
    name: p.string('only the role of this name'),
    type: p.word('only roles of this type', Object.values(roleTypeShown)),
  },
  reply: reply.list(roleView),
  run: (context, params) =>
    list(context, params, {
      from: 'role t',
      where: [
        where.sql('t.removed_at IS NULL'),
        isRootAdmin(context.caller) ? null : where.sql("t.type <> 'admin'"),
        where.equal('t.id', params.id?.id),
        where.equal('t.name', params.name),
        where.equal(
          't.type',
          (['admin', 'domainAdmin', 'user'] as const).find((type) => roleTypeShown[type] === params.type),
        ),
      ],
      keyword: ['t.name', 't.description'],
      load: (ids) => context.db.read.findBy(roles, { id: In([...ids]) }),
    }),
});
