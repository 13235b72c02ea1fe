/** What a login answers: everything a text, as clients know it, but the time-out. */
import type { Id } from '../../protocol/schema.ts';
import { accountTypes, type Caller } from '../core/context.ts';
import type { UserRow } from '../core/owners.ts';
import { f, view } from '../core/view.ts';

export interface LoginReply {
  readonly caller: Caller;
  readonly user: Pick<UserRow, 'firstName' | 'lastName' | 'timezone'>;
  readonly sessionKey: string;
  readonly timeoutMinutes: number;
  readonly serverId: Id<'managementServer'>;
}
export const loginView = view<LoginReply>('LoginCmdResponse', 'login', {
  username: f.string('the name of the user', ({ caller }) => caller.userName),
  userid: f.string('the id of the user', ({ caller }) => caller.userId),
  domainid: f.string('the id of the domain', ({ caller }) => caller.domainId),
  timeout: f.integer('seconds without a request after which the session ends', ({ timeoutMinutes }) => timeoutMinutes * 60),
  account: f.string('the name of the account', ({ caller }) => caller.accountName),
  firstname: f.string('the first name of the user', ({ user }) => user.firstName),
  lastname: f.string('the last name of the user', ({ user }) => user.lastName),
  type: f.string('type of the account: 0 user, 1 root admin, 2 domain admin', ({ caller }) => String(accountTypes[caller.accountType])),
  timezone: f.string('the time zone of the user', ({ user }) => user.timezone),
  timezoneoffset: f.string('hours of that time zone from UTC', ({ user }) =>
    user.timezone ? hoursFromUtc(user.timezone, new Date()) : null,
  ),
  registered: f.string('whether the user came by registration', () => 'false'),
  sessionkey: f.string('the key that goes with every request of the session', ({ sessionKey }) => sessionKey),
  is2faenabled: f.string('whether the user has a second factor', () => 'false'),
  is2faverified: f.string('whether the second factor was shown', () => 'false'),
  managementserverid: f.string('the management server that answered, for root admins', ({ caller, serverId }) =>
    caller.accountType === 'admin' ? serverId : null,
  ),
});

/** `5.5` for Asia/Kolkata; daylight saving time counts. */
export function hoursFromUtc(timeZone: string, at: Date): string {
  const part = new Intl.DateTimeFormat('en', { timeZone, timeZoneName: 'longOffset' })
    .formatToParts(at)
    .find(({ type }) => type === 'timeZoneName');
  const match = /^GMT([+-])(\d{2}):(\d{2})/.exec(part?.value ?? '');
  const hours = match ? (match[1] === '-' ? -1 : 1) * (Number(match[2]) + Number(match[3]) / 60) : 0;
  return Number.isInteger(hours) ? hours.toFixed(1) : String(hours);
}
