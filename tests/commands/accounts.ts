/** Accounts for tests, with the keys of their first user. */
import type { Client, Reply } from '../../lab/client.ts';
import type { Cloud } from '../cloud/cloud.ts';

export interface Tenant {
  readonly client: Client;
  readonly account: Reply;
}

/** `accounttype`: 0 user, 2 domain admin. */
export async function addTenant(
  cloud: Cloud,
  name: string,
  { domainid, accounttype = 0 }: { domainid?: string; accounttype?: number } = {},
): Promise<Tenant> {
  const { account } = await cloud.admin.call('createAccount', {
    username: name,
    password: `password of ${name}`,
    email: `${name}@example.org`,
    firstname: name,
    lastname: 'Tenant',
    accounttype,
    domainid,
  });
  const { userkeys } = await cloud.admin.call('registerUserKeys', { id: account.user[0].id });
  return { account, client: cloud.client({ apiKey: userkeys.apikey, secretKey: userkeys.secretkey }) };
}
