/** Consoles through the management server's own name: /console/<console proxy>/… is passed on to that proxy's management address. */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import httpProxy from 'http-proxy';
import { isUuid } from '../../protocol/schema.ts';
import type { Mount } from '../core/http.ts';
import type { Services } from '../core/services.ts';
import { agents } from '../core/tables.ts';

const PREFIX = '/console';
const TIMEOUT_MS = 15_000;

/** `port` is where console proxies listen for management servers. */
export function consoleMount({ db, log }: Services, port = 80): Mount {
  const proxy = httpProxy.createProxyServer({ xfwd: true, proxyTimeout: TIMEOUT_MS, changeOrigin: false });
  proxy.on('error', (error, _request, answer) => {
    log.debug({ err: error }, 'a console request could not be passed on');
    if ('writeHead' in answer) {
      if (!answer.headersSent) answer.writeHead(502, { 'Content-Type': 'text/plain' });
      answer.end('The console proxy does not answer; ask for a new console URL.');
    } else answer.destroy();
  });
  // A console proxy stands open to the internet. Whoever took one over must neither learn a session of this server nor make one.
  const strip = ({ headers }: IncomingMessage) => {
    delete headers.cookie;
    delete headers.authorization;
  };
  const setNothing = ({ headers }: IncomingMessage) => {
    delete headers['set-cookie'];
  };
  proxy.on('proxyRes', setNothing);
  proxy.on('proxyReqWs', (request) => request.on('upgrade', setNothing).on('response', setNothing));
  /** Where the request goes, and the path below; null for what names no console proxy that is up. */
  const targetOf = async (url: string): Promise<{ target: string; path: string } | null> => {
    const [, id = '', rest = ''] = /^\/console\/([0-9a-f-]{36})(\/.*)?$/.exec(url) ?? [];
    if (!isUuid(id)) return null;
    const agent = await db.read.findOneBy(agents, { id, kind: 'console-proxy' });
    return agent?.address && ['Up', 'Alert', 'Disconnected'].includes(agent.state)
      ? { target: `http://${agent.address}:${port}`, path: rest || '/' }
      : null;
  };
  const refuse = (socket: Duplex) => socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n');
  return {
    path: PREFIX,
    handle: (request, response) => {
      // Express has taken the prefix off `url`; the whole is in `originalUrl`.
      const whole = 'originalUrl' in request && typeof request.originalUrl === 'string' ? request.originalUrl : (request.url ?? '');
      targetOf(whole).then(
        (found) => {
          if (!found) {
            response.status(404).type('text/plain').send('There is no such console proxy.');
            return;
          }
          request.url = found.path;
          strip(request);
          proxy.web(request, response, { target: found.target });
        },
        () => response.status(503).type('text/plain').send('The console cannot be reached at the moment.'),
      );
    },
    upgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      targetOf(request.url ?? '').then(
        (found) => {
          if (!found) return refuse(socket);
          request.url = found.path;
          strip(request);
          // An open console may be quiet for long.
          proxy.ws(request, socket, head, { target: found.target, proxyTimeout: 0 });
        },
        () => refuse(socket),
      );
    },
  };
}
