/** One link as the server holds it, from the hello on. */
import type { KeyObject } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { WebSocket } from 'ws';
import { CloudError } from '../errors.ts';
import type { PeerKind } from '../kinds.ts';
import type { Log } from '../log.ts';
import type { Beat, BellSubject } from '../messages/beat.ts';
import { AGENT_KINDS, decode, encode, type Frame, type FrameOf, type JoinAnswer, PROTOCOL_VERSION, UNSENT_BYTES_MAX } from './frame.ts';
import { checkKeyProof } from './key-proof.ts';
import { textOf } from './wire.ts';

export interface Peer {
  readonly kind: PeerKind;
  readonly id: string;
}
/** `bye`: the agent said that it stops. `lost`: silence, a broken socket or nonsense. The others are this server's own doing. */
export type LinkEnd = 'bye' | 'lost' | 'replaced' | 'closed';

export interface ServerLink {
  readonly peer: Peer;
  readonly version: string;
  readonly address: string;
  /** Of the certificate that is in use; changes with a renewal. */
  readonly serial: string;
  readonly notAfter: number;
  readonly lastSeen: number;
  sendText(text: string): void;
  /** Ends the link; `how` is what `ended` will be told. */
  end(how: LinkEnd, reason: string): void;
}
export interface LinkEvents {
  answer(frame: FrameOf<'answer'> | FrameOf<'refusal'>): void;
  bell(subject: BellSubject): void;
  beat(beat: Beat): void;
  ended(how: LinkEnd, reason: string): void;
}

/** Close code of a link that was refused for who the agent is; it means: do not expect better next time. */
export const CLOSE_FORBIDDEN = 4403;
const CLOSE_GOING_AWAY = 1001;
/** Bells and beats of one link within one turn of the wheel. */
const UNASKED_PER_TURN_MAX = 500;
const HEARD = encode({ kind: 'heard' });

export interface Authenticated extends Peer {
  readonly serial: string;
  readonly notAfter: number;
}
export interface LinkContext {
  readonly serverId: string;
  readonly beatMs: number;
  readonly log: Log;
  readonly renew: (peer: Peer, publicKey: KeyObject) => Promise<JoinAnswer & { serial: string }>;
  readonly refused: (
    reason: 'other-machine' | 'bad-frame' | 'too-many' | 'expired',
    who: Peer & { address: string },
    words: string,
  ) => void;
  /** The hello was good. */
  readonly greeted: (link: OpenLink) => LinkEvents;
  readonly gone: (link: OpenLink) => void;
}
export interface OpenLink extends ServerLink {
  readonly greetedAt: number | null;
  readonly openedAt: number;
  /** Called by the wheel about once a second. */
  turn(): void;
}

export function openServerLink(socket: WebSocket, tlsSocket: TLSSocket, who: Authenticated, context: LinkContext): OpenLink {
  const { beatMs, log } = context;
  const peer: Peer = { kind: who.kind, id: who.id };
  const address = tlsSocket.remoteAddress ?? '';
  let { serial, notAfter } = who;
  let events: LinkEvents | null = null;
  let version = '';
  let lastSeen = performance.now();
  let toldHeardAt = performance.now();
  let unasked = 0;
  let renewing = false;
  let ended: { how: LinkEnd; reason: string } | null = null;

  const finish = (how: LinkEnd, reason: string): void => {
    if (ended !== null) return;
    ended = { how, reason };
    context.gone(link);
    events?.ended(how, reason);
  };
  const sendText = (text: string): void => {
    if (socket.readyState !== WebSocket.OPEN) return;
    if (socket.bufferedAmount > UNSENT_BYTES_MAX) {
      finish('lost', 'the agent does not read what it is sent');
      socket.terminate();
    } else socket.send(text);
  };
  const tellHeard = (): void => {
    toldHeardAt = performance.now();
    sendText(HEARD);
  };
  const send = (frame: Frame): void => sendText(encode(frame));

  const refuse = (reason: 'other-machine' | 'bad-frame' | 'too-many' | 'expired', words: string): void => {
    context.refused(reason, { ...peer, address }, words);
    finish('lost', words);
    socket.close(CLOSE_FORBIDDEN, words.slice(0, 100));
    setTimeout(() => socket.terminate(), 1000).unref();
  };

  const greet = (hello: FrameOf<'hello'>) => {
    const { body } = hello;
    if (events !== null) return refuse('bad-frame', 'a second hello');
    if (body.id !== peer.id || body.kind !== peer.kind) {
      return refuse('other-machine', `the certificate is that of ${peer.kind} ${peer.id}, the hello of ${body.kind} ${body.id}`);
    }
    version = body.version;
    link.greetedAt = performance.now();
    send({ kind: 'welcome', body: { serverId: context.serverId, beatMs, protocol: Math.min(PROTOCOL_VERSION, body.protocol) } });
    events = context.greeted(link);
  };

  const renew = async (frame: FrameOf<'renew'>): Promise<void> => {
    renewing = true;
    try {
      const { publicKey, proof } = frame.body;
      const key = checkKeyProof(tlsSocket, { purpose: 'renew', ...peer, publicKey, token: '' }, proof);
      const next = await context.renew(peer, key);
      serial = next.serial;
      notAfter = next.notAfter;
      send({ kind: 'renewed', id: frame.id, body: { certificatePem: next.certificatePem, caPem: next.caPem, notAfter } });
      log.info({ ...peer, serial }, 'certificate renewed');
    } catch (error) {
      log.warn({ err: error, ...peer }, 'certificate not renewed');
      send({ kind: 'refusal', id: frame.id, body: CloudError.store(error) });
    } finally {
      renewing = false;
    }
  };

  const take = (frame: FrameOf<(typeof AGENT_KINDS)[number]>) => {
    if (frame.kind === 'hello') return greet(frame);
    if (events === null) return refuse('bad-frame', `${frame.kind} came before the hello`);
    switch (frame.kind) {
      case 'answer':
      case 'refusal':
        return events.answer(frame);
      case 'bell':
        unasked += 1;
        return events.bell(frame.name);
      case 'beat':
        unasked += 1;
        tellHeard();
        return events.beat(frame.body);
      case 'renew':
        if (!renewing) void renew(frame);
        return;
      case 'bye':
        finish('bye', frame.body.reason);
        socket.close(1000);
    }
  };

  // A large frame takes a while on a slow network, and beats wait behind it: any byte is a sign of life.
  tlsSocket.on('data', () => {
    lastSeen = performance.now();
  });
  socket.on('message', (data) => {
    if (ended !== null) return;
    try {
      const frame = decode(textOf(data), AGENT_KINDS);
      if (frame !== null) take(frame);
    } catch (error) {
      if (error instanceof CloudError && error.code === 'MalformedParameter') refuse('bad-frame', error.message);
      else {
        log.error({ err: error, ...peer }, 'a frame could not be handled');
        refuse('bad-frame', 'a frame could not be handled');
      }
    }
  });
  socket.on('error', (error) => {
    if ('code' in error && error.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH') refuse('bad-frame', 'a frame was too large');
    finish('lost', error.message);
  });
  socket.on('close', (code) => finish('lost', `the connection was closed (${code})`));

  const link = {
    peer,
    address,
    openedAt: performance.now(),
    greetedAt: null as number | null,
    get version() {
      return version;
    },
    get serial() {
      return serial;
    },
    get notAfter() {
      return notAfter;
    },
    get lastSeen() {
      return lastSeen;
    },
    sendText,
    end(how: LinkEnd, reason: string) {
      if (how === 'closed') send({ kind: 'bye', body: { reason: reason.slice(0, 200) } });
      finish(how, reason);
      // Nobody answers on a link that went silent, so there is no use in a polite closing there.
      if (how === 'lost') socket.terminate();
      else {
        socket.close(CLOSE_GOING_AWAY, reason.slice(0, 100));
        setTimeout(() => socket.terminate(), 1000).unref();
      }
    },
    turn() {
      if (unasked > UNASKED_PER_TURN_MAX) refuse('too-many', 'too many bells');
      unasked = 0;
      // While a large frame of its own is on the way the agent's beats wait behind it, so it is told without having asked.
      if (events !== null && lastSeen > toldHeardAt && performance.now() - toldHeardAt > 1.5 * beatMs) tellHeard();
      if (notAfter < Date.now()) refuse('expired', 'the certificate has expired and was not renewed');
    },
  };
  return link;
}
