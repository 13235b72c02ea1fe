/**
 * Guessing passwords takes time: after some failed logins the next one waits, each time longer. Counted for a user from one address, for a
 * user from anywhere, and for an address whatever the user; the latter two are patient, because behind a proxy many people share an address,
 * and because nobody should be able to lock another one out for long. Each management server counts for itself and keeps nothing.
 */
import { CloudError } from '../../protocol/errors.ts';
import { setting } from '../core/settings.ts';

export const loginAttemptsAllowed = setting.integer('incorrect.login.attempts.allowed', 5, {
  max: 1000,
  about: 'Failed logins of a user from one address after which the next one must wait, each time longer; 0 for no limit.',
});

const FORGOTTEN_MS = 3_600_000;
const KEYS_MAX = 20_000;
interface Rule {
  /** How many times as many failures as the setting says. */
  readonly times: number;
  readonly waitMsMax: number;
}
const rules = {
  pair: { times: 1, waitMsMax: 300_000 },
  user: { times: 10, waitMsMax: 60_000 },
  address: { times: 20, waitMsMax: 60_000 },
} as const satisfies Record<string, Rule>;

export interface Attempt {
  /** As it was typed, with the domain. */
  readonly user: string;
  readonly address: string;
}
export interface LoginAttempts {
  /** Counts an attempt as failed until `succeeded` is called, so that many at the same time count too. Throws when it must wait. */
  begin: (attempt: Attempt, allowed: number) => void;
  succeeded: (attempt: Attempt) => void;
  /** The attempt was not tried after all. */
  withdrawn: (attempt: Attempt) => void;
  readonly size: number;
}

export function openLoginAttempts(now: () => number = Date.now): LoginAttempts {
  /** In the order of the last failure, so the first ones are forgotten first. */
  const failures = new Map<string, { count: number; at: number }>();
  const keysOf = ({ user, address }: Attempt): [string, Rule][] => {
    const name = user.normalize('NFC').toLowerCase().slice(0, 600);
    return [
      [`pair\n${address}\n${name}`, rules.pair],
      [`user\n${name}`, rules.user],
      [`address\n${address}`, rules.address],
    ];
  };
  const forgetOld = () => {
    for (const [key, { at }] of failures) {
      if (failures.size <= KEYS_MAX && now() - at < FORGOTTEN_MS) return;
      failures.delete(key);
    }
  };
  return {
    begin: (attempt, allowed) => {
      if (allowed === 0) return;
      forgetOld();
      const keys = keysOf(attempt);
      const waits = keys.map(([key, { times, waitMsMax }]) => {
        const known = failures.get(key);
        const over = (known?.count ?? 0) - allowed * times;
        return known === undefined || over < 0 ? 0 : known.at + Math.min(1000 * 2 ** Math.min(over, 20), waitMsMax) - now();
      });
      const waitMs = Math.max(...waits);
      if (waitMs > 0) {
        throw new CloudError('TooManyRequests', `Too many logins have failed; please try again in ${Math.ceil(waitMs / 1000)} seconds`);
      }
      for (const [key] of keys) {
        const count = (failures.get(key)?.count ?? 0) + 1;
        failures.delete(key);
        failures.set(key, { count, at: now() });
      }
    },
    succeeded: (attempt) => {
      const [[pair], ...shared] = keysOf(attempt) as [[string, Rule], ...[string, Rule][]];
      failures.delete(pair);
      takeBack(shared);
    },
    withdrawn: (attempt) => takeBack(keysOf(attempt)),
    get size() {
      return failures.size;
    },
  };

  /** This attempt only: whoever knows one password does not clear what was guessed of others. */
  function takeBack(keys: readonly [string, Rule][]): void {
    for (const [key] of keys) {
      const known = failures.get(key);
      if (known === undefined) continue;
      if (known.count <= 1) failures.delete(key);
      else known.count -= 1;
    }
  }
}
