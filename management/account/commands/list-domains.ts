import { command, reply } from '../../core/command.ts';
import { isRootAdmin } from '../../core/context.ts';
import { domainKind, type Filter, list, ownerParams, pageParams, where } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { domainView, loadDomains } from '../views.ts';

export const listDomains = command({
  name: 'listDomains',
  about: 'Lists domains at and below that of the caller.',
  access: 'domainAdmin',
  params: {
    ...pageParams,
    listall: ownerParams.listall,
    id: p.entity('only this domain', domainKind, 'list'),
    name: p.string('only domains of this name'),
    level: p.integer('only domains this deep below ROOT', { min: 0 }),
  },
  reply: reply.list(domainView),
  run: (context, params) => {
    const { caller } = context;
    const below: Filter = { sql: 't.path LIKE ?', values: [`${caller.domainPath.replace(/[\\%_]/g, '\\$&')}%`] };
    const scope = isRootAdmin(caller) ? null : params.listall || params.id ? below : where.equal('t.id', caller.domainId);
    return list(context, params, {
      from: 'domain t',
      where: [
        where.sql('t.removed_at IS NULL'),
        scope,
        where.equal('t.id', params.id?.id),
        where.equal('t.name', params.name),
        where.equal('t.level', params.level),
      ],
      keyword: ['t.name'],
      load: (ids) => loadDomains(context.db, ids),
    });
  },
});
