import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { test } from 'node:test';
import { CloudError } from '../../protocol/errors.ts';
import { testAuthority } from '../certificates.testing.ts';
import { startFileServer } from './file-server.testing.ts';
import { type Lookup, openSource, type SourceOptions } from './source.ts';

const open = { allowedInternalCidrs: ['127.0.0.1/32'], ownCidrs: [] };
const options = (over: Partial<SourceOptions> = {}): SourceOptions => ({ rules: open, proxyUrl: null, silenceSeconds: 2, ...over });
const never = new AbortController().signal;
const fetchText = async (url: string, over: Partial<SourceOptions> = {}): Promise<string> => {
  const { response } = await openSource(url, {}, options(over), never);
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return `${response.statusCode} ${Buffer.concat(chunks)}`;
};
const toLoopback: Lookup = async () => [{ address: '127.0.0.1', family: 4 }];

test('SS-05 threat class 3: URLs of internal places are refused before anything is sent, however they are written', async () => {
  const server = await startFileServer({ content: Buffer.from('secret') });
  const strict = { rules: { allowedInternalCidrs: [], ownCidrs: [] } };
  const hosts = [
    ...[
      '127.0.0.1',
      '127.1',
      '0x7f.1',
      '0x7f000001',
      '2130706433',
      '017700000001',
      '0177.0.0.1',
      '127.0.0.1.',
      'localhost',
      '0',
      '0.0.0.0',
    ],
    ...['[::1]', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '[64:ff9b::7f00:1]', '[::]', '[2002:7f00:1::]', '10.1.2.3', '169.254.169.254'],
    ...['0xa9fea9fe', '100.64.0.1', '198.18.0.1', '①②⑦.⓪.⓪.①'],
  ];
  for (const host of hosts)
    await assert.rejects(
      fetchText(`http://${host}:${server.port}/`, strict),
      (error) => error instanceof CloudError && / is /.test(error.message),
      host,
    );
  assert.equal(server.requests.length, 0);
  await server.close();
});

test('a name with one address that must not be reached is refused as a whole', async () => {
  const lookup: Lookup = async () => [
    { address: '203.0.113.9', family: 4 },
    { address: '10.0.0.1', family: 4 },
  ];
  await assert.rejects(fetchText('http://images.test/', { lookup }), /images\.test is at 10\.0\.0\.1, which is a private address/);
});

test('SS-05 threat class 3: every redirect is checked', async () => {
  const targets = ['http://169.254.169.254/latest/', 'http://127.0.0.9/', '//10.0.0.1/x', 'http://[::1]/', 'http://0x7f.9/'];
  for (const target of targets) {
    const server = await startFileServer({ answer: (_request, response) => !!response.writeHead(302, { location: target }).end() });
    await assert.rejects(fetchText(server.url), /is (a|an) .*address/, target);
    await server.close();
  }
  const chain = await startFileServer({
    content: Buffer.from('image'),
    answer: (request, response) => {
      const left = Number(/\d+$/.exec(request.url ?? '')?.[0] ?? 0);
      if (left === 0) return false;
      response.writeHead(307, { location: `/hop${left - 1}` }).end();
      return true;
    },
  });
  assert.equal(await fetchText(`${chain.url}5`), '200 image');
  await assert.rejects(fetchText(`${chain.url}6`), /redirects more than 5 times/);
  await chain.close();
});

test('redirects to other kinds of places are refused', async () => {
  for (const location of ['ftp://203.0.113.1/x', 'file:///etc/passwd', 'gopher://203.0.113.1/', 'data:,x', 'http://']) {
    const server = await startFileServer({ answer: (_request, response) => !!response.writeHead(301, { location }).end() });
    await assert.rejects(fetchText(server.url), /the URL (is not of http|cannot be read)/, location);
    await server.close();
  }
  for (const url of ['ftp://203.0.113.1/x', 'file:///etc/passwd', 'nonsense', '']) await assert.rejects(fetchText(url), /the URL/, url);
});

test('threat class 3: a name is asked once for each hop, and the connection goes where the check was', async () => {
  const server = await startFileServer({
    content: Buffer.from('image'),
    answer: (request, response) => request.url === '/again' && !!response.writeHead(302, { location: '/image' }).end(),
  });
  let asked = 0;
  // Says the good address first and the loopback's other one ever after.
  const rebinding: Lookup = async () => {
    asked += 1;
    return [{ address: asked === 1 ? '127.0.0.1' : '127.0.0.9', family: 4 }];
  };
  assert.equal(await fetchText(`http://rebinding.test:${server.port}/image`, { lookup: rebinding }), '200 image');
  assert.equal(asked, 1);
  assert.equal(server.requests[0]?.headers.host, `rebinding.test:${server.port}`);
  asked = 0;
  await assert.rejects(
    fetchText(`http://rebinding.test:${server.port}/again`, { lookup: rebinding }),
    /rebinding\.test is at 127\.0\.0\.9, which is a loopback address/,
  );
  await server.close();
});

test('credentials of the URL go to its own server only', async () => {
  const other = await startFileServer({ content: Buffer.from('image') });
  const server = await startFileServer({ answer: (_request, response) => !!response.writeHead(302, { location: other.url }).end() });
  await fetchText(server.url.replace('http://', 'http://joe:s%40cret@'));
  assert.equal(server.requests[0]?.headers.authorization, `Basic ${Buffer.from('joe:s@cret').toString('base64')}`);
  assert.equal(other.requests[0]?.headers.authorization, undefined);
  await server.close();
  await other.close();
});

test('SS-09 what is wrong with name or server is said', async () => {
  const fails =
    (code: string): Lookup =>
    async () => {
      throw Object.assign(new Error(code), { code });
    };
  await assert.rejects(fetchText('http://nowhere.test/', { lookup: fails('ENOTFOUND') }), /the name nowhere\.test cannot be resolved/);
  await assert.rejects(fetchText('http://nowhere.test/', { lookup: fails('EAI_AGAIN') }), /no name server answers/);
  await assert.rejects(fetchText('http://nowhere.test/', { lookup: async () => [] }), /has no address/);
  await assert.rejects(fetchText('http://127.0.0.1:1/'), /the server 127\.0\.0\.1 refuses the connection/);
  const silent = await startFileServer({ answer: () => true });
  await assert.rejects(fetchText(silent.url, { silenceSeconds: 0.2 }), /the server 127\.0\.0\.1 fell silent/);
  await silent.close();
});

test('SS-09 https is checked against the name in the URL, and never left for plain http', async () => {
  const { caPem: ca, issue } = testAuthority();
  const plain = await startFileServer({ content: Buffer.from('image') });
  const server = await startFileServer({
    content: Buffer.from('image'),
    tls: issue({ dns: 'images.test' }),
    answer: (request, response) => request.url === '/down' && !!response.writeHead(302, { location: plain.url }).end(),
  });
  const expired = await startFileServer({ tls: issue({ dns: 'images.test' }, { expired: true }) });
  const trusting = { lookup: toLoopback, certificateAuthorities: [ca] };
  assert.equal(await fetchText(`https://images.test:${server.port}/`, trusting), '200 image');
  await assert.rejects(
    fetchText(`https://other.test:${server.port}/`, trusting),
    /other\.test cannot be trusted: its certificate is for another name/,
  );
  await assert.rejects(fetchText(`https://images.test:${expired.port}/`, trusting), /certificate has expired/);
  await assert.rejects(fetchText(`https://images.test:${server.port}/`, { lookup: toLoopback }), /signed by nobody known/);
  await assert.rejects(fetchText(`https://images.test:${plain.port}/`, trusting), /does not speak TLS/);
  await assert.rejects(fetchText(`https://images.test:${server.port}/down`, trusting), /redirects from https to plain http/);
  assert.equal(plain.requests.length, 0);
  for (const one of [plain, server, expired]) await one.close();
});

test('SS-05 with a proxy, the proxy is asked for the address that was checked', async () => {
  const { caPem: ca, issue } = testAuthority();
  const plain = await startFileServer({ content: Buffer.from('plain') });
  const secure = await startFileServer({ content: Buffer.from('secure'), tls: issue({ dns: 'images.test' }) });
  const seen: string[] = [];
  const proxy = createServer((request, response) => {
    seen.push(`${request.method} ${request.url} ${request.headers.host} ${request.headers['proxy-authorization'] ?? ''}`);
    response.end('from the proxy');
  });
  proxy.on('connect', (request, socket, head) => {
    seen.push(`${request.method} ${request.url}`);
    const [host, port] = (request.url ?? '').split(':');
    const inner = connect(Number(port), host, () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      inner.write(head);
      inner.pipe(socket).pipe(inner);
    });
    inner.on('error', () => socket.destroy());
    socket.on('error', () => inner.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const address = proxy.address();
  const proxyUrl = `http://pat:pw@127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
  const through = { proxyUrl, lookup: toLoopback, certificateAuthorities: [ca] };
  assert.equal(await fetchText(`http://images.test:${plain.port}/image?x=1`, through), '200 from the proxy');
  assert.equal(await fetchText(`https://images.test:${secure.port}/image`, through), '200 secure');
  const credentials = `Basic ${Buffer.from('pat:pw').toString('base64')}`;
  assert.deepEqual(seen, [
    `GET http://127.0.0.1:${plain.port}/image?x=1 images.test:${plain.port} ${credentials}`,
    `CONNECT 127.0.0.1:${secure.port}`,
  ]);
  await assert.rejects(
    fetchText('http://internal.test/', { ...through, lookup: async () => [{ address: '10.0.0.1', family: 4 }] }),
    /which is a private address/,
  );
  assert.equal(seen.length, 2, 'a proxy is no way around the rules');
  await new Promise((resolve) => {
    proxy.close(resolve);
    proxy.closeAllConnections();
  });
  await plain.close();
  await secure.close();
});
