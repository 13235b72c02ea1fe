/** The console page: takes the token from its own address, opens the WebSocket beside it and hands the screen to noVNC. */
import RFB from '@novnc/novnc';
import { keyPresses, SHIFT } from './typing.ts';

const ENDED = 4000;
/** A guest's keyboard queue is short; keys that come faster are lost. */
const KEY_MILLISECONDS = 25;

function element<E extends HTMLElement>(id: string, kind: new () => E): E {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new TypeError(`the page has no ${id}`);
  return found;
}
const button = (id: string): HTMLButtonElement => element(id, HTMLButtonElement);
const screenElement = element('screen', HTMLElement);
const title = element('title', HTMLElement);
const status = element('status', HTMLElement);
const tools = element('tools', HTMLElement);
const end = element('end', HTMLElement);
const pasteDialog = element('paste-dialog', HTMLDialogElement);
const pasteText = element('paste-text', HTMLTextAreaElement);
const pasteProgress = element('paste-progress', HTMLElement);

// The token comes in the query, or in the fragment, which browsers never send to any server.
const parameters = new URLSearchParams(`${location.search.slice(1)}&${location.hash.slice(1)}`);
const token = parameters.get('token') ?? '';

/** Relative to the page: it may be served under a path of the management server. */
const beside = (path: string): URL => {
  const url = new URL(`../../${path}`, location.href);
  url.search = new URLSearchParams({ token }).toString();
  url.hash = '';
  return url;
};

interface SessionView {
  readonly state: string;
  readonly title: string | null;
  readonly text: string | null;
}
const isSessionView = (value: unknown): value is SessionView => typeof value === 'object' && value !== null && 'state' in value;
async function look(): Promise<SessionView | null> {
  try {
    const answer: unknown = await (await fetch(beside('session'), { cache: 'no-store', credentials: 'omit' })).json();
    return isSessionView(answer) ? answer : null;
  } catch {
    return null;
  }
}

let rfb: RFB | null = null;

function show(state: 'opening' | 'open' | 'ended', text: string): void {
  document.documentElement.dataset['state'] = state;
  status.textContent = text;
  tools.hidden = state !== 'open';
}

function showEnd(heading: string, text: string, again: boolean): void {
  show('ended', heading);
  element('end-title', HTMLElement).textContent = heading;
  element('end-text', HTMLElement).textContent = text;
  element('end-hint', HTMLElement).hidden = again;
  button('connect').hidden = !again;
  end.hidden = false;
  pasteDialog.close();
  if (again) button('connect').focus();
}

function nameIt(name: string | null): void {
  if (!name) return;
  title.textContent = name;
  document.title = `${name} – console`;
}

async function connect(): Promise<void> {
  end.hidden = true;
  show('opening', 'Opening…');
  const seen = await look();
  nameIt(seen?.title ?? null);
  if (seen === null) return showEnd('The console proxy cannot be reached', 'Check the network and try again.', true);
  if (seen.state === 'Full') return showEnd('No session is free', seen.text ?? '', true);
  if (seen.state !== 'Waiting') return showEnd('This link does not open a console', seen.text ?? '', false);

  const url = beside('websockify');
  url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
  const socket = new WebSocket(url);
  socket.binaryType = 'arraybuffer';
  let opened = false;
  let left = false;
  socket.addEventListener('open', () => {
    opened = true;
  });
  socket.addEventListener('close', async (event) => {
    rfb = null;
    screenElement.replaceChildren();
    if (!opened) {
      const now = await look();
      // Pages arrive and the WebSocket does not: something on the way refuses it, and the link has not been used.
      const text =
        now === null ? 'The console proxy cannot be reached.' : (now.text ?? 'The network on the way lets no WebSocket through.');
      return showEnd('This link does not open a console', text, now?.state === 'Full' || now?.state === 'Waiting');
    }
    if (event.code === ENDED) return showEnd('The session has ended', event.reason, false);
    if (left) return showEnd('The session has ended', 'You disconnected.', false);
    showEnd('The connection to the console was lost', 'The network or the console proxy went away.', false);
  });
  const client = new RFB(screenElement, socket, { shared: true });
  client.scaleViewport = button('scale').ariaPressed === 'true';
  client.background = 'transparent';
  client.showDotCursor = true;
  client.addEventListener('connect', () => {
    rfb = client;
    show('open', 'Connected');
    client.focus();
  });
  button('disconnect').onclick = () => {
    left = true;
    client.disconnect();
  };
}

const press = (rfbNow: RFB, text: string, signal: AbortSignal): Promise<void> => {
  const presses = keyPresses(text);
  return new Promise((resolve) => {
    let index = 0;
    const timer = setInterval(() => {
      const key = presses[index];
      if (key === undefined || signal.aborted || rfb !== rfbNow) {
        clearInterval(timer);
        pasteProgress.textContent = key === undefined ? `Typed ${presses.length} characters.` : `Stopped after ${index} characters.`;
        return resolve();
      }
      if (key.shift) rfbNow.sendKey(SHIFT.keysym, SHIFT.code, true);
      rfbNow.sendKey(key.keysym, key.code);
      if (key.shift) rfbNow.sendKey(SHIFT.keysym, SHIFT.code, false);
      index += 1;
      pasteProgress.textContent = `Typing ${index} of ${presses.length}…`;
    }, KEY_MILLISECONDS);
  });
};

let typing: AbortController | null = null;
button('ctrl-alt-del').onclick = () => {
  rfb?.sendCtrlAltDel();
  rfb?.focus();
};
button('paste').onclick = () => {
  pasteProgress.textContent = '';
  pasteDialog.showModal();
  pasteText.focus();
};
button('paste-type').onclick = async () => {
  if (rfb === null || typing !== null) return;
  typing = new AbortController();
  await press(rfb, pasteText.value, typing.signal);
  typing = null;
};
button('paste-close').onclick = () => pasteDialog.close();
pasteDialog.onclose = () => {
  typing?.abort();
  // What was pasted may be a password.
  pasteText.value = '';
  rfb?.focus();
};
button('scale').onclick = () => {
  const scaled = button('scale').ariaPressed !== 'true';
  button('scale').ariaPressed = String(scaled);
  screenElement.style.overflow = scaled ? 'hidden' : 'auto';
  if (rfb !== null) rfb.scaleViewport = scaled;
  rfb?.focus();
};
button('full-screen').onclick = () => {
  const change = document.fullscreenElement === null ? document.documentElement.requestFullscreen() : document.exitFullscreen();
  change.catch(() => undefined);
};
document.onfullscreenchange = () => {
  button('full-screen').ariaPressed = String(document.fullscreenElement !== null);
  rfb?.focus();
};
button('connect').onclick = () => void connect();

if (parameters.get('autoconnect') === 'false') showEnd('Ready to connect', 'This link opens the console once.', true);
else void connect();
