/** The metadata server (port 80) and the password server (port 8080), on the guest address. A guest is known by the address it asks from. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { UserData } from '../protocol/network-services/user-data.ts';
import type { DaemonState } from '../systemvm/processes.ts';

const METADATA_PORT = 80;
const PASSWORD_PORT = 8080;
const CONNECTIONS_MAX = 512;
/** So that one guest cannot take all connections. */
const CONNECTIONS_PER_GUEST_MAX = 16;

type Guest = UserData['guests'][number];
/** What a guest has confirmed; the digest tells a new guest's password from that of an earlier one at the same address. */
export interface SavedPassword {
  readonly generation: number;
  readonly digest: string;
}

export interface GuestServices {
  /** Serves these guests at `address`, or nobody when `section` is null. */
  readonly apply: (address: string, section: UserData | null) => Promise<void>;
  readonly states: () => Record<'metadata' | 'password', DaemonState>;
  readonly saved: () => ReadonlyMap<string, SavedPassword>;
  readonly restoreSaved: (saved: ReadonlyMap<string, SavedPassword>) => void;
  readonly close: () => Promise<void>;
}

const digestOf = (text: string): string => createHash('sha256').update(text).digest('hex');
const listing = (names: Iterable<string>): string => [...names].join('\n');

/** Names directly below `folder` in a set of paths; a name with more below it ends in a slash. */
export function namesBelow(paths: readonly string[], folder: string): string[] {
  const start = folder === '' ? '' : `${folder}/`;
  const names = paths
    .filter((path) => path.startsWith(start) && path.length > start.length)
    .map((path) => {
      const [name = '', ...deeper] = path.slice(start.length).split('/');
      return deeper.length === 0 ? name : `${name}/`;
    });
  return [...new Set(names)].sort();
}

/** The body for a path of the metadata server, or null when there is nothing. Pure. */
export function metadataBody(guest: Guest, path: string): string | Buffer | null {
  const words = path.split('/').filter((word) => word !== '');
  if (words.length === 0) return 'latest/';
  if (words[0] !== 'latest') return null;
  if (words.length === 1) return listing(['meta-data/', 'user-data']);
  if (words[1] === 'user-data') return words.length === 2 ? Buffer.from(guest.userData, 'base64') : null;
  // Older guests leave `meta-data` out.
  const key = (words[1] === 'meta-data' ? words.slice(2) : words.slice(1)).join('/');
  if (key !== '' && Object.hasOwn(guest.metadata, key)) return guest.metadata[key] ?? null;
  const names = namesBelow(Object.keys(guest.metadata), key);
  return names.length > 0 || key === '' ? listing(names) : null;
}

export function guestServices({ onPasswordSaved }: { onPasswordSaved: () => void }): GuestServices {
  let guests: ReadonlyMap<string, Guest> = new Map();
  const saved = new Map<string, SavedPassword>();
  let listening: { address: string; servers: readonly Server[] } | null = null;

  const reply = (response: ServerResponse, status: number, body: string | Buffer, type = 'text/plain; charset=utf-8'): void => {
    const bytes = typeof body === 'string' ? Buffer.from(body, 'utf8') : body;
    response.writeHead(status, { 'content-type': type, 'content-length': bytes.length, 'cache-control': 'no-store' });
    response.end(response.req.method === 'HEAD' ? undefined : bytes);
  };
  const guestOf = (request: IncomingMessage): Guest | undefined => guests.get(request.socket.remoteAddress ?? '');

  const serveMetadata = (request: IncomingMessage, response: ServerResponse): void => {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      reply(response, 405, 'only GET is answered\n');
      return;
    }
    const guest = guestOf(request);
    const path = (request.url ?? '/').split('?')[0] ?? '/';
    const body = guest === undefined ? null : metadataBody(guest, path);
    if (body === null) reply(response, 404, 'not found\n');
    else reply(response, 200, body, typeof body === 'string' ? undefined : 'application/octet-stream');
  };

  const servePassword = (request: IncomingMessage, response: ServerResponse): void => {
    const guest = guestOf(request);
    const wish = request.headers['domu_request'];
    const password = guest?.password ?? null;
    if (guest === undefined || (wish !== 'send_my_password' && wish !== 'saved_password')) {
      reply(response, 400, 'bad_request');
      return;
    }
    const digest = password === null ? null : digestOf(`${password.generation} ${password.text}`);
    const isDue = password !== null && digest !== null && saved.get(guest.address)?.digest !== digest;
    if (isDue && wish === 'saved_password') {
      saved.set(guest.address, { generation: password.generation, digest });
      onPasswordSaved();
    }
    reply(response, 200, isDue && wish === 'send_my_password' ? password.text : 'saved_password');
  };

  const listen = (address: string, port: number, handle: (request: IncomingMessage, response: ServerResponse) => void): Promise<Server> => {
    const server = createServer({ keepAliveTimeout: 2000, headersTimeout: 5000, requestTimeout: 10_000, maxHeaderSize: 8192 }, handle);
    const connections = new Map<string, number>();
    server.maxConnections = CONNECTIONS_MAX;
    server.on('connection', (socket) => {
      const from = socket.remoteAddress ?? '';
      const count = (connections.get(from) ?? 0) + 1;
      connections.set(from, count);
      socket.once('close', () => {
        const rest = (connections.get(from) ?? 1) - 1;
        if (rest > 0) connections.set(from, rest);
        else connections.delete(from);
      });
      if (count > CONNECTIONS_PER_GUEST_MAX) socket.destroy();
    });
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, address, () => {
        server.off('error', reject);
        resolve(server);
      });
    });
  };
  const stopListening = async (): Promise<void> => {
    const servers = listening?.servers ?? [];
    listening = null;
    await Promise.all(
      servers.map(
        (server) =>
          new Promise<void>((resolve) => {
            server.close(() => resolve());
            server.closeAllConnections();
          }),
      ),
    );
  };

  return {
    apply: async (address, section) => {
      guests = new Map((section?.guests ?? []).map((guest) => [guest.address, guest]));
      // Management has seen a password as saved once it sends none; a guest that is gone takes its entry with it, and what its successor
      // at the address has is another password, though it may have the same number.
      for (const [known, { digest }] of saved) {
        const password = guests.get(known)?.password ?? null;
        if (password === null || digestOf(`${password.generation} ${password.text}`) !== digest) saved.delete(known);
      }
      if (listening !== null && (section === null || listening.address !== address)) await stopListening();
      if (section !== null && listening === null)
        listening = {
          address,
          servers: await Promise.all([listen(address, METADATA_PORT, serveMetadata), listen(address, PASSWORD_PORT, servePassword)]),
        };
    },
    states: () => {
      const state = (index: number): DaemonState => {
        if (listening === null) return 'stopped';
        return listening.servers[index]?.listening ? 'running' : 'failed';
      };
      return { metadata: state(0), password: state(1) };
    },
    saved: () => saved,
    restoreSaved: (restored) => {
      for (const [address, entry] of restored) saved.set(address, entry);
    },
    close: stopListening,
  };
}
