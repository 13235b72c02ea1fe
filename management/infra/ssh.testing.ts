/** A real ssh server in this process, whose commands are run by this machine's own shell; for tests. */
import { spawn } from 'node:child_process';
import type { AddressInfo } from 'node:net';
import ssh2 from 'ssh2';
import { Secret } from '../../protocol/schema.ts';
import type { SshTarget } from './ssh.ts';

export const PASSWORD = 'p4ss "word" \'';
export const pair = ssh2.utils.generateKeyPairSync('ed25519');
const hostPair = ssh2.utils.generateKeyPairSync('ed25519');

/** `hostKey`: a private key in PEM, for a machine that was installed anew. */
export async function withServer(
  work: (target: SshTarget) => Promise<void>,
  { hostKey = hostPair.private, port: wanted = 0 }: { hostKey?: string; port?: number } = {},
): Promise<void> {
  const server = new ssh2.Server({ hostKeys: [hostKey] }, (client) => {
    client.on('authentication', (request) => {
      const key = ssh2.utils.parseKey(pair.public);
      if (request.method === 'password' && request.password === PASSWORD) request.accept();
      else if (request.method === 'publickey' && !(key instanceof Error) && request.key.data.equals(key.getPublicSSH())) request.accept();
      else request.reject(['password', 'publickey']);
    });
    client.on('error', () => undefined);
    client.on('ready', () =>
      client.on('session', (accept) =>
        accept().on('exec', (acceptExec, _reject, { command }) => {
          const stream = acceptExec();
          const child = spawn('/bin/sh', ['-c', `exec ${command}`]);
          stream.on('data', (bytes: Buffer) => child.stdin.write(bytes));
          stream.on('end', () => child.stdin.end());
          stream.on('close', () => child.kill());
          child.stdin.on('error', () => undefined);
          child.stdout.pipe(stream, { end: false });
          child.stderr.pipe(stream.stderr, { end: false });
          child.on('close', (code) => {
            stream.exit(code ?? 255);
            stream.end();
          });
        }),
      ),
    );
  });
  await new Promise<void>((done) => server.listen(wanted, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  try {
    await work({ address: '127.0.0.1', port, username: 'root', login: { password: new Secret(PASSWORD) }, expectedHostKey: null });
  } finally {
    await new Promise<void>((done) => server.close(() => done()));
  }
}
