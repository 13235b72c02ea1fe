import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { domainKind } from '../../core/list.ts';
import { p, required } from '../../core/params.ts';
import { insertDomain } from '../accounts.ts';
import { domainView, loadDomains } from '../views.ts';

export const createDomain = command({
  name: 'createDomain',
  about: 'Creates a domain below another.',
  access: 'domainAdmin',
  event: { type: 'DOMAIN.CREATE', text: 'creating domain', resource: 'Domain' },
  params: {
    name: required(p.string('the name of the domain')),
    parentdomainid: p.entity('the domain above; that of the caller unless given', domainKind, 'operate'),
    networkdomain: p.string('DNS domain of the networks in the domain'),
  },
  reply: reply.one(domainView),
  run: async ({ db, caller }, { name, parentdomainid, networkdomain }) => {
    const { id } = await db.transact((tx) => insertDomain(tx, parentdomainid?.id ?? caller.domainId, name, networkdomain ?? null));
    const [shown] = await loadDomains(db, [id]);
    if (!shown) throw new CloudError('Internal', 'the domain was not written', { id });
    return shown;
  },
});
