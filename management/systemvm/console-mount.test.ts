import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { createLog } from '../../protocol/log.ts';
import { withFront } from '../core/http.testing.ts';
import type { Services } from '../core/services.ts';
import { consoleMount } from './console-mount.ts';

const PROXY_ID = '01900000-0000-7000-8000-00000000000a';

/** A console proxy that tells what it was asked. */
async function withProxy(work: (url: string, asked: IncomingMessage[]) => Promise<void>): Promise<void> {
  const asked: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    asked.push(request);
    response.writeHead(200, { 'set-cookie': 'JSESSIONID=stolen; Path=/client', 'content-type': 'text/plain' }).end('page');
  });
  const sockets = new WebSocketServer({ noServer: true });
  sockets.on('headers', (headers) => headers.push('set-cookie: JSESSIONID=stolen; Path=/client'));
  server.on('upgrade', (request, socket, head) => {
    asked.push(request);
    sockets.handleUpgrade(request, socket, head, (browser) => browser.send('hello'));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  const findOneBy = async (_table: unknown, { id, kind }: { id: string; kind: string }) =>
    id === PROXY_ID && kind === 'console-proxy' ? { address: '127.0.0.1', state: 'Up' } : null;
  const services = { db: { read: { findOneBy } }, log: createLog('test', { level: 'silent' }) } as unknown as Services;
  try {
    await withFront({ mounts: [consoleMount(services, port)] }, ({ url }) => work(new URL('/console', url).href, asked));
  } finally {
    for (const client of sockets.clients) client.terminate();
    server.closeAllConnections();
    server.close();
  }
}

test('CP-07: what belongs to the management server goes to no console proxy, and a proxy sets nothing there', () =>
  withProxy(async (url, asked) => {
    const headers = { cookie: 'JSESSIONID=secret; sessionkey=secret', authorization: 'Basic c2VjcmV0' };
    const answer = await fetch(`${url}/${PROXY_ID}/resource/noVNC/vnc.html?token=t`, { headers });
    assert.equal(await answer.text(), 'page');
    assert.equal(answer.headers.get('set-cookie'), null);
    const browser = new WebSocket(`${url.replace('http', 'ws')}/${PROXY_ID}/websockify?token=t`, { headers });
    const greeting = once(browser, 'message');
    const [upgrade]: IncomingMessage[] = await once(browser, 'upgrade');
    assert.equal(upgrade?.headers['set-cookie'], undefined);
    assert.equal(String((await greeting)[0]), 'hello');
    browser.close();
    assert.deepEqual(
      asked.map((request) => request.url),
      ['/resource/noVNC/vnc.html?token=t', '/websockify?token=t'],
    );
    for (const request of asked) {
      assert.equal(request.headers.cookie, undefined);
      assert.equal(request.headers.authorization, undefined);
      assert.equal(request.headers['x-forwarded-for'], '127.0.0.1');
    }
  }));

test('only console proxies that there are can be reached, and only below their path', () =>
  withProxy(async (url, asked) => {
    for (const path of [
      '/01900000-0000-7000-8000-00000000000b/session',
      '/../client/api',
      `/${PROXY_ID}x/session`,
      `/x/${PROXY_ID}/session`,
      '/http://127.0.0.1/session',
    ]) {
      assert.equal((await fetch(`${url}${path}`)).ok, false, path);
      const browser = new WebSocket(`${url.replace('http', 'ws')}${path}`);
      const [error] = await once(browser, 'error');
      assert.match(String(error), /Unexpected server response: 404|socket hang up/, path);
    }
    assert.deepEqual(asked, []);
  }));
