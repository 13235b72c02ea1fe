/** A shell on a host over SSH, for as long as it takes to put the agent there. Credentials are kept nowhere. */
import { createHash } from 'node:crypto';
import ssh2, { type ClientChannel } from 'ssh2';
import { CloudError } from '../../protocol/errors.ts';
import type { Secret } from '../../protocol/schema.ts';

export interface RemoteResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}
/** A root shell on the host. `exec` takes the words of one command, and each arrives there as it is. */
export interface RemoteShell {
  exec(argv: readonly string[], options?: { timeoutSeconds?: number }): Promise<RemoteResult>;
  /** Writes the file as a whole: whoever reads it meanwhile sees the old one or the new one. */
  put(path: string, bytes: string | Uint8Array, mode: number): Promise<void>;
}
export interface OpenShell extends RemoteShell {
  /** `SHA256:` and the hash of its key, as ssh prints it. */
  readonly hostKey: string;
  close(): void;
}
export interface SshTarget {
  readonly address: string;
  readonly port: number;
  readonly username: string;
  readonly login: { readonly password: Secret } | { readonly privateKey: Secret };
  /** Null: the key that is met now is taken as the right one. */
  readonly expectedHostKey: string | null;
}

const CONNECT_MS = 20_000;
const EXEC_SECONDS = 60;
const PUT_SECONDS = 120;
const OUTPUT_BYTES_MAX = 1024 * 1024;

export const fingerprint = (key: Buffer): string => `SHA256:${createHash('sha256').update(key).digest('base64').replace(/=+$/, '')}`;

/** A word that any POSIX shell reads back as it was. */
export function quote(word: string): string {
  if (word.includes('\0')) throw new CloudError('InvalidParameter', 'a command line cannot carry a NUL character');
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

export function openShell({ address, port, username, login, expectedHostKey }: SshTarget): Promise<OpenShell> {
  return new Promise((resolve, reject) => {
    const client = new ssh2.Client();
    const place = `${username}@${address}${port === 22 ? '' : ` port ${port}`}`;
    let hostKey = '';
    let ended: CloudError | null = null;
    const waiting = new Set<(error: CloudError) => void>();

    const lost = (why: string, cause?: unknown) => {
      ended ??= new CloudError('Unreachable', `the ssh connection to ${address} was lost: ${why}`, { cause });
      for (const fail of waiting) fail(ended);
      waiting.clear();
    };
    const run = (argv: readonly string[], input: string | Uint8Array | null, timeoutSeconds: number): Promise<RemoteResult> =>
      new Promise((done, fail) => {
        if (ended) return fail(ended);
        const line = argv.map(quote).join(' ');
        let channel: ClientChannel | null = null;
        const settle = (act: () => void) => {
          clearTimeout(timer);
          waiting.delete(onLost);
          act();
        };
        const onLost = (error: CloudError) => settle(() => fail(error));
        const timer = setTimeout(() => {
          channel?.close();
          settle(() => fail(new CloudError('Timeout', `${argv[0]} did not end on ${address} within ${timeoutSeconds} seconds`)));
        }, timeoutSeconds * 1000);
        waiting.add(onLost);
        client.exec(line, (error, opened) => {
          if (error)
            return settle(() => fail(new CloudError('Unreachable', `${address} does not run commands over ssh`, { cause: error })));
          channel = opened;
          const [stdout, stderr] = [collector(), collector()];
          let code: number | null = null;
          opened.on('data', stdout.take);
          opened.stderr.on('data', stderr.take);
          opened.on('error', () => undefined);
          opened.on('exit', (status: number | null) => {
            code = status;
          });
          // No code means that a signal ended it.
          opened.on('close', () => settle(() => done({ code: code ?? 255, stdout: stdout.text(), stderr: stderr.text() })));
          opened.end(input ?? undefined);
        });
      });

    const shell = (): OpenShell => ({
      hostKey,
      exec: (argv, { timeoutSeconds = EXEC_SECONDS } = {}) => run(argv, null, timeoutSeconds),
      async put(path, bytes, mode) {
        const fresh = `${path}.new`;
        const steps: readonly (readonly [readonly string[], string | Uint8Array | null])[] = [
          // The mode is right before the first byte is there.
          [['install', '-m', mode.toString(8).padStart(4, '0'), '-T', '--', '/dev/null', fresh], null],
          [['dd', `of=${fresh}`, 'conv=notrunc', 'status=none'], bytes],
          [['mv', '-f', '-T', '--', fresh, path], null],
        ];
        for (const [argv, input] of steps) {
          const { code, stderr } = await run(argv, input, PUT_SECONDS);
          if (code !== 0)
            throw new CloudError('ResourceUnavailable', `${path} could not be written on ${address}: ${stderr.trim().slice(0, 200)}`);
        }
      },
      close: () => {
        lost('it was closed');
        client.end();
      },
    });

    client.on('ready', () => resolve(shell()));
    client.on('error', (error) => {
      if (expectedHostKey !== null && hostKey !== '' && hostKey !== expectedHostKey) {
        reject(
          new CloudError(
            'InvalidParameter',
            `the ssh host key of ${address} is ${hostKey}, and was ${expectedHostKey} when this address was a host before; if that is right, because the machine was installed anew, set host.ssh.key.check to false while it is added`,
          ),
        );
      } else if (error.level === 'client-authentication') {
        const how = 'password' in login ? 'this password' : "the cloud's ssh key";
        reject(new CloudError('InvalidParameter', `${place} cannot log in with ${how}; check username and password`, { cause: error }));
      } else reject(new CloudError('Unreachable', `no ssh connection to ${place}: ${reasonOf(error)}`, { cause: error }));
      lost(reasonOf(error), error);
    });
    client.on('close', () => lost('the host closed it'));
    if ('password' in login)
      client.on('keyboard-interactive', (_name, _instructions, _language, prompts, finish) =>
        finish(prompts.map(({ echo }) => (echo ? '' : login.password.reveal()))),
      );
    client.connect({
      host: address,
      port,
      username,
      ...('password' in login ? { password: login.password.reveal(), tryKeyboard: true } : { privateKey: login.privateKey.reveal() }),
      readyTimeout: CONNECT_MS,
      keepaliveInterval: 10_000,
      keepaliveCountMax: 6,
      hostVerifier: (key: Buffer) => {
        hostKey = fingerprint(key);
        return expectedHostKey === null || hostKey === expectedHostKey;
      },
    });
  });
}

function reasonOf(error: Error & { level?: string; code?: string }): string {
  if (error.level === 'client-timeout') return 'it does not answer in time';
  switch (error.code) {
    case 'ECONNREFUSED':
      return 'nothing listens there';
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return 'there is no way to it';
    case 'ENOTFOUND':
      return 'its name is not known';
    case 'ETIMEDOUT':
      return 'it does not answer in time';
    default:
      return error.message.slice(0, 200);
  }
}

/** Keeps the beginning of an output; what runs there must not fill our memory. */
function collector(): { take: (bytes: Buffer) => void; text: () => string } {
  const parts: Buffer[] = [];
  let size = 0;
  return {
    take: (bytes) => {
      if (size >= OUTPUT_BYTES_MAX) return;
      parts.push(bytes);
      size += bytes.length;
    },
    text: () => Buffer.concat(parts).subarray(0, OUTPUT_BYTES_MAX).toString('utf8'),
  };
}
