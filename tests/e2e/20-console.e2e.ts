/** Consoles of real guests in a real browser, through the real console proxy. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Browser } from 'playwright-core';
import { WebSocket } from 'ws';
import { type ConsolePage, openConsolePage, startBrowser } from '../../console-proxy/page-driver.ts';
import { ApiError, type Client, eventually, type Reply } from '../../lab/client.ts';
import { pathsOf, varDirectory } from '../../lab/installation.ts';
import { inHost } from '../../lab/lab.ts';
import { processOf, stopProcess } from '../../lab/processes.ts';
import { topology } from '../../lab/topology.ts';
import { startManagementServer } from '../../lab/up.ts';
import { capture, guestSays, type RealCloud, realCloud, vmOf } from './cloud.ts';
import { portOpenFrom, untilSerial } from './inside.ts';

let cloud: RealCloud;
let admin: Client;
let demo: Client;
let vm: Reply;
let browser: Browser;
/** Made first and used last, when its time is over. */
let stale: { url: string; madeAt: number };

const pages: ConsolePage[] = [];
const open = async (url: string): Promise<ConsolePage> => {
  const view = await openConsolePage(browser, url);
  pages.push(view);
  return view;
};
const endpoint = async (id: string = vm.id): Promise<Reply> =>
  (await demo.call('createConsoleEndpoint', { virtualmachineid: id })).consoleendpoint;

/** The guest's shell writes where the test can read it: proof that what was typed was run, and not only drawn. */
const types = async (view: ConsolePage, word: string): Promise<void> => {
  await view.typeText(`echo "$((6*7))-${word}" >/dev/ttyS0\n`);
  await untilSerial(vm.hostname, vm.id, new RegExp(`^42-${word.replace(/\W/g, '\\$&')}\\r?$`, 'm'));
};

/** How a websocket request with this token is answered. */
const statusOf = (websocket: Reply, token: string): Promise<number> =>
  new Promise((resolve) => {
    const socket = new WebSocket(`ws://${websocket.host}:${websocket.port}/${websocket.path}?token=${token}`, ['binary']);
    socket.on('unexpected-response', (_request, response) => {
      resolve(response.statusCode ?? 0);
      socket.terminate();
    });
    socket.on('open', () => {
      resolve(101);
      socket.close();
    });
    socket.on('error', () => resolve(0));
  });

const sessionsOpen = async (): Promise<number> =>
  (await demo.list('listConsoleSessions', { virtualmachineid: vm.id, activeonly: true })).length;
const setting = (name: string, value: string) => admin.call('updateConfiguration', { name, value });

before(
  async () => {
    cloud = await realCloud();
    ({ admin, demo } = cloud);
    const { zoneId: zoneid, templateId: templateid, networkId: networkids } = cloud;
    const [{ id: serviceofferingid }] = await demo.list('listServiceOfferings', { name: 'Small Instance' });
    const name = 'console-guest';
    const params = { zoneid, templateid, serviceofferingid, networkids, name, displayname: name };
    vm = (await demo.run('deployVirtualMachine', params, { timeoutSeconds: 300, pollMs: 500 })).virtualmachine;
    stale = { url: (await endpoint()).url, madeAt: Date.now() };
    browser = await startBrowser();
    vm = await vmOf(cloud, vm.id);
    await guestSays(vm.hostname, vm.id, 'ready');
  },
  { timeout: 480_000 },
);
const closePages = async (): Promise<void> => {
  for (const view of pages.splice(0)) await view.close().catch(() => undefined);
};
after(async () => {
  await closePages();
  await browser?.close();
  // Gone already, unless a test failed before the last one.
  if (vm) await admin.run('destroyVirtualMachine', { id: vm.id, expunge: true }, { timeoutSeconds: 60 }).catch(() => undefined);
});

test('CP-01 CP-06 CP-10 MI-04 a browser shows the guest, and typed and pasted commands are run in it', { timeout: 120_000 }, async () => {
  const { url, websocket } = await endpoint();
  const [proxy] = await admin.list('listSystemVms', { systemvmtype: 'consoleproxy', state: 'Running' });
  assert.equal(new URL(url).hostname, proxy.publicip, 'the URL leads to the console proxy that was chosen');
  assert.equal(websocket.host, proxy.publicip);
  const view = await open(url);
  await view.waitForScreen();
  assert.equal(await view.page.title(), 'console-guest – console');
  await view.remember();
  await view.press([...'echo', 'Space', ...'keys', 'Shift+Period', 'Slash', ...'dev', 'Slash', ...'tty', 'Shift+KeyS', '0']);
  assert.ok((await view.waitForChange()) >= 150, 'what is typed is seen');
  await view.press(['Enter']);
  await untilSerial(vm.hostname, vm.id, /^keys\r?$/m);
  await types(view, "pasted It's [Typed]: {A-z} 0..9 ~@#%^&*()_+=<>?|/");
  assert.deepEqual(view.complaints, []);
  assert.equal(await sessionsOpen(), 1 + 1, 'this one, and the one that waits to be opened');
});

test('CP-08 a link opens once, and neither a changed nor an invented one does', { timeout: 90_000 }, async () => {
  const { url, websocket } = await endpoint();
  const { token } = websocket;
  const other = token.at(-2) === 'A' ? 'B' : 'A';
  const changed = `${token.slice(0, -2)}${other}${token.slice(-1)}`;
  assert.equal(await statusOf(websocket, changed), 403);
  assert.equal(await statusOf(websocket, ''), 403);
  const wrong = await open(url.replace(token, changed));
  assert.match((await wrong.waitForEnd()).text, /not valid/);
  const first = await open(url);
  await first.waitForScreen();
  const second = await open(url);
  assert.match((await second.waitForEnd()).text, /has been used/);
  assert.equal(await statusOf(websocket, token), 403);
  await types(first, 'still-there');
  await first.close();
  const again = await open(url);
  assert.match((await again.waitForEnd()).text, /has been used/, 'also after the session has ended');
});

test('CP-10 two viewers share one screen', { timeout: 90_000 }, async () => {
  const [one, two] = [await open((await endpoint()).url), await open((await endpoint()).url)];
  await one.waitForScreen();
  await two.waitForScreen();
  await sleep(500);
  await one.remember();
  await two.remember();
  await types(one, 'from-the-first');
  assert.ok((await two.waitForChange()) >= 150, 'the second sees what the first typed');
  await types(two, 'from-the-second');
  await one.close();
  await types(two, 'the-first-has-left');
  await two.close();
});

test('CP-09 the proxy connects to the host only after the link was accepted, and nobody else reaches VNC', {
  timeout: 120_000,
}, async () => {
  const [proxy] = await admin.list('listSystemVms', { systemvmtype: 'consoleproxy', state: 'Running' });
  const [host] = await admin.list('listHosts', { id: vm.hostid });
  const display = (await inHost(vm.hostname, 'virsh', ['vncdisplay', '--', vm.instancename], { timeoutSeconds: 20 })).stdout.trim();
  const [address = '', number] = display.split(':');
  assert.equal(address, host.ipaddress, 'VNC listens on the management address alone');
  const port = 5900 + Number(number);
  assert.ok(await portOpenFrom(vm.hostname, address, port), 'the port is open, so that closed below means something');

  await closePages();
  const watch = () => capture(vm.hostname, topology.hostBridges.management, `tcp port ${port}`);
  const packets = (lines: readonly string[]) => lines.filter((line) => line.includes(' > ') && line.includes(`.${port}`));
  // The connections of the pages that were closed may say a last word.
  await sleep(1000);
  const early = await watch();
  const { url, websocket } = await endpoint();
  const changed = websocket.token.replace(/^./, websocket.token.startsWith('A') ? 'B' : 'A');
  const refused = await open(url.replace(websocket.token, changed));
  await refused.waitForEnd();
  assert.equal((await fetch(url)).status, 200);
  assert.deepEqual(packets(await early.stop()), [], 'a refused link and a page alone make no connection');
  const later = await watch();
  const view = await open(url);
  await view.waitForScreen();
  const lines = packets(await later.stop());
  assert.ok(lines.length > 0, 'now there is one');
  const between = [`${proxy.privateip}.`, `${address}.${port}`];
  for (const line of lines) for (const end of between) assert.ok(line.includes(end), `only the proxy speaks with the host: ${line}`);
  await view.close();

  assert.ok(!(await portOpenFrom(topology.internet.name, address, port)), 'closed from the public network');
  assert.ok(
    !(await portOpenFrom(topology.nfs.name, host.ipaddress.replace('198.18.0.', '198.18.1.'), port)),
    'closed on the storage network',
  );
  const inside = await open((await endpoint()).url);
  await inside.waitForScreen();
  // The server of the public network answers, the host's VNC does not: the guest's own network works, and still does not lead there.
  await inside.typeText(
    `for at in "${topology.internet.address} ${topology.internet.httpPort}" "${address} ${port}" "169.254.0.1 ${port}"; do nc -w 3 $at </dev/null >/tmp/said 2>&1 && echo "reach $at" >/dev/ttyS0 || echo "no $at" >/dev/ttyS0; done\n`,
  );
  const text = await untilSerial(vm.hostname, vm.id, new RegExp(`^(no|reach) 169.254.0.1 ${port}\\r?$`, 'm'), 30);
  assert.match(text, new RegExp(`^reach ${topology.internet.address} ${topology.internet.httpPort}\\r?$`, 'm'));
  assert.match(text, new RegExp(`^no ${address} ${port}\\r?$`, 'm'));
  assert.match(text, new RegExp(`^no 169.254.0.1 ${port}\\r?$`, 'm'));
  await inside.close();
});

test('CP-07 OV-03 an open console goes on while the management server is away', { timeout: 150_000 }, async () => {
  const { url, websocket } = await endpoint();
  const own = [topology.machine.management.address, topology.machine.public.address, 'localhost', '127.0.0.1'];
  for (const name of [new URL(url).hostname, websocket.host]) assert.ok(!own.includes(name), `${name} is not the management server`);
  const sockets: string[] = [];
  const view = await openConsolePage(browser, 'about:blank');
  pages.push(view);
  view.page.on('websocket', (socket) => sockets.push(socket.url()));
  await view.page.goto(url);
  await view.waitForScreen();
  assert.equal(new URL(sockets[0] ?? '').hostname, websocket.host);

  const { managementPid } = pathsOf(varDirectory);
  const running = await processOf(managementPid);
  assert.ok(running);
  const words = (await readFile(`/proc/${running.pid}/cmdline`, 'utf8')).split('\0');
  const version = words.find((word) => word.startsWith('--build='))?.slice('--build='.length) ?? '';
  const program = words.find((word) => word.endsWith('.mjs') || word.endsWith('.js')) ?? '';
  await stopProcess({ name: 'management', pidFile: managementPid, graceSeconds: 15 });
  try {
    await assert.rejects(fetch('http://127.0.0.1:8080/healthz'));
    await types(view, 'without-management');
  } finally {
    await startManagementServer(varDirectory, version, program);
  }
  await types(view, 'management-is-back');
  await eventually(
    'the console proxy is linked again',
    async () => (await admin.list('listSystemVms', { systemvmtype: 'consoleproxy', agentstate: 'Up' }))[0]?.agentstate === 'Up',
  );
  await view.close();
});

test('CP-07 a console passes through the management server where a setting says so', { timeout: 90_000 }, async () => {
  await setting('console.endpoint.via', 'management');
  try {
    const { url, websocket } = await endpoint();
    const [proxy] = await admin.list('listSystemVms', { systemvmtype: 'consoleproxy', state: 'Running' });
    assert.match(url, new RegExp(`^http://localhost:8080/console/${proxy.id}/`));
    const view = await open(url);
    await view.waitForScreen();
    await types(view, 'through-management');
    assert.equal(await statusOf(websocket, websocket.token), 403, 'once, here too');
    assert.deepEqual(view.complaints, []);
    await view.close();
    const strange = await fetch(`http://localhost:8080/console/${vm.id}/resource/noVNC/vnc.html`);
    assert.equal(strange.status, 404, 'what is no console proxy is not passed on');
  } finally {
    await setting('console.endpoint.via', 'proxy');
  }
});

test('CP-08 where a setting says so, a link opens only for the address that asked for it', { timeout: 90_000 }, async () => {
  await setting('novnc.console.sourceip.check.enabled', 'true');
  try {
    // The API was asked over the loopback; the browser comes to the console proxy with another address of this machine.
    const { url, websocket } = await endpoint();
    assert.equal(await statusOf(websocket, websocket.token), 403);
    await (await open(url)).waitForEnd();
    await setting('console.endpoint.via', 'management');
    const same = await open((await endpoint()).url);
    await same.waitForScreen();
    await same.close();
  } finally {
    await setting('console.endpoint.via', 'proxy');
    await setting('novnc.console.sourceip.check.enabled', 'false');
  }
});

test('sessions are listed and counted, and idle ones end', { timeout: 120_000 }, async () => {
  await closePages();
  const counts = async (): Promise<number> => {
    const [proxy] = await admin.list('listSystemVms', { systemvmtype: 'consoleproxy', state: 'Running' });
    return proxy.activeviewersessions;
  };
  await eventually('all earlier sessions have ended', async () => (await counts()) === 0, { timeoutSeconds: 40, everyMs: 500 });
  const view = await open((await endpoint()).url);
  await view.waitForScreen();
  await types(view, 'counted');
  await eventually('the proxy counts it', async () => (await counts()) === 1, { timeoutSeconds: 20 });
  const connected = await eventually('the session is listed as opened', async () =>
    (await demo.list('listConsoleSessions', { virtualmachineid: vm.id, activeonly: true, acquired: true })).find(
      ({ acquired }) => acquired,
    ),
  );
  assert.equal(connected.virtualmachineid, vm.id);
  assert.equal(connected.clientaddress, topology.machine.public.address);
  assert.equal(connected.hostid, undefined, 'a tenant does not see hosts');
  await setting('consoleproxy.session.timeout', '10000');
  try {
    const startedAt = Date.now();
    const { heading, text } = await view.waitForEnd(60);
    assert.equal(heading, 'The session has ended');
    assert.match(text, /Nobody used the keyboard or mouse/);
    assert.ok(Date.now() - startedAt > 3000, 'not at once');
  } finally {
    await setting('consoleproxy.session.timeout', '300000');
  }
  await eventually(
    'the list says that it has ended',
    async () => (await demo.list('listConsoleSessions', { id: connected.id }))[0]?.removed,
    {
      timeoutSeconds: 30,
    },
  );
  await eventually('the proxy counts none', async () => (await counts()) === 0, { timeoutSeconds: 20 });
});

test('CP-08 a link that nobody opened for two minutes is refused', { timeout: 150_000 }, async () => {
  const waits = stale.madeAt + 121_000 - Date.now();
  if (waits > 0) await sleep(waits);
  const view = await open(stale.url);
  assert.match((await view.waitForEnd()).text, /expired/);
  const token = new URL(stale.url).searchParams.get('token') ?? '';
  const { websocket } = await endpoint();
  assert.equal(await statusOf(websocket, token), 403);
});

test('a destroyed guest takes its console along', { timeout: 120_000 }, async () => {
  const view = await open((await endpoint()).url);
  await view.waitForScreen();
  await demo.run('destroyVirtualMachine', { id: vm.id }, { timeoutSeconds: 60, pollMs: 300 });
  assert.match((await view.waitForEnd(30)).text, /was stopped/);
  await assert.rejects(endpoint(), (error) => error instanceof ApiError && error.status >= 400);
  await admin.run('expungeVirtualMachine', { id: vm.id }, { timeoutSeconds: 60, pollMs: 300 });
});
