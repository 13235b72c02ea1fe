/**
 * What stands between the listening socket and TLS. A connection costs nothing but its socket until a whole ClientHello has come, and
 * then waits its turn: handshakes begin a few per turn of the event loop, fairly among addresses, so neither sockets that say nothing
 * nor a crowd that comes back all at once keep an agent, or the links that are up, waiting.
 */
import type { Socket } from 'node:net';

export interface DoorLimits {
  /** Connections whose ClientHello has not come, in all and from one address; beyond it the oldest makes room. */
  readonly silentMax: number;
  readonly silentPerAddressMax: number;
  /** Handshakes under way at once, in all and from one address. */
  readonly handshakesMax: number;
  readonly handshakesPerAddressMax: number;
  /** From accept to a whole ClientHello, and from the beginning of the handshake to its end; twice as long for the line between. */
  readonly handshakeMs: number;
  /** When other addresses wait and there is no room at all, a handshake older than this may be given up for them. */
  readonly crowdedMs: number;
  /**
   * The same when only the address's own others wait. Longer, because a thousand agents that come back through one relay on a busy
   * machine are slow and honest, and cutting them would make them begin again.
   */
  readonly crowdedAddressMs: number;
}
export const usualDoorLimits: DoorLimits = {
  silentMax: 8192,
  silentPerAddressMax: 4096,
  handshakesMax: 256,
  handshakesPerAddressMax: 64,
  handshakeMs: 10_000,
  crowdedMs: 1000,
  crowdedAddressMs: 4000,
};

export type DoorRefusal = 'not-tls' | 'silent' | 'handshake';
export interface Door {
  enter(socket: Socket): void;
  /** The handshake of the connection from this address and port has ended well. */
  passed(address: string | undefined, port: number | undefined): void;
  close(): void;
  readonly waitingCount: number;
}
export interface DoorOptions {
  readonly limits: DoorLimits;
  /** Starts TLS on a paused socket whose first bytes are still to be read. */
  readonly begin: (socket: Socket) => void;
  readonly onRefused: (reason: DoorRefusal, address: string) => void;
}

const HANDSHAKES_PER_TURN = 8;
const HANDSHAKE_RECORD = 0x16;
const RECORD_HEADER_BYTES = 5;
const RECORD_BYTES_MAX = 16_384 + 256;
const SWEEP_MS = 500;

type Stage = 'silent' | 'queued' | 'shaking' | 'over';
interface Guest {
  readonly socket: Socket;
  readonly address: string;
  readonly key: string;
  readonly since: number;
  stage: Stage;
  /** When the handshake began; time spent in the line does not count against it. */
  begunAt: number;
  received: Buffer;
}

export function openDoor({ limits, begin, onRefused }: DoorOptions): Door {
  // Sets keep the order of arrival, so the first one is always the oldest.
  const silent = new Map<string, Set<Guest>>();
  const queued = new Map<string, Set<Guest>>();
  const shaking = new Map<string, Set<Guest>>();
  const guests = new Set<Guest>();
  const byKey = new Map<string, Guest>();
  let silentCount = 0;
  let shakingCount = 0;
  let pumping = false;

  const keyOf = (address: string | undefined, port: number | undefined): string => `${address} ${port}`;
  const add = (groups: Map<string, Set<Guest>>, guest: Guest): void => {
    const group = groups.get(guest.address) ?? new Set();
    groups.set(guest.address, group.add(guest));
  };
  const drop = (groups: Map<string, Set<Guest>>, guest: Guest): void => {
    const group = groups.get(guest.address);
    group?.delete(guest);
    if (group?.size === 0) groups.delete(guest.address);
  };

  const leave = (guest: Guest): void => {
    if (guest.stage === 'silent') {
      drop(silent, guest);
      silentCount -= 1;
    } else if (guest.stage === 'queued') drop(queued, guest);
    else if (guest.stage === 'shaking') {
      drop(shaking, guest);
      shakingCount -= 1;
    }
  };
  const finish = (guest: Guest): void => {
    if (guest.stage === 'over') return;
    leave(guest);
    guest.stage = 'over';
    guests.delete(guest);
    byKey.delete(guest.key);
    if (queued.size > 0) pumpSoon();
  };
  const refuse = (guest: Guest, reason: DoorRefusal): void => {
    if (guest.stage === 'over') return;
    finish(guest);
    guest.socket.destroy();
    onRefused(reason, guest.address);
  };

  const first = (group: Set<Guest> | undefined): Guest | undefined => group?.values().next().value;
  const largest = (groups: Map<string, Set<Guest>>): Set<Guest> | undefined => {
    let found: Set<Guest> | undefined;
    for (const group of groups.values()) if (found === undefined || group.size > found.size) found = group;
    return found;
  };

  const makeRoom = (group: Set<Guest> | undefined, patienceMs: number): void => {
    const victim = first(group);
    if (victim !== undefined && performance.now() - victim.begunAt > patienceMs) refuse(victim, 'handshake');
  };
  /** The next in line whose address has not its share of handshakes yet. */
  const nextInLine = (): Guest | undefined => {
    for (const [address, group] of queued) {
      const own = shaking.get(address);
      if ((own?.size ?? 0) < limits.handshakesPerAddressMax) return first(group);
      makeRoom(own, limits.crowdedAddressMs);
    }
    return undefined;
  };

  const pump = (): void => {
    pumping = false;
    if (queued.size > 0 && shakingCount >= limits.handshakesMax) makeRoom(largest(shaking), limits.crowdedMs);
    for (let started = 0; started < HANDSHAKES_PER_TURN && shakingCount < limits.handshakesMax; started++) {
      const guest = nextInLine();
      if (guest === undefined) return;
      leave(guest);
      // The address goes to the end of the line: who sends a thousand at once waits behind who sends one.
      const group = queued.get(guest.address);
      if (group !== undefined) {
        queued.delete(guest.address);
        queued.set(guest.address, group);
      }
      guest.stage = 'shaking';
      guest.begunAt = performance.now();
      add(shaking, guest);
      shakingCount += 1;
      begin(guest.socket);
    }
    if (queued.size > 0 && shakingCount < limits.handshakesMax) pumpSoon();
  };
  const pumpSoon = (): void => {
    if (pumping) return;
    pumping = true;
    setImmediate(pump);
  };

  const listen = (guest: Guest): void => {
    const { socket } = guest;
    const onData = (chunk: Buffer) => {
      guest.received = guest.received.length === 0 ? chunk : Buffer.concat([guest.received, chunk]);
      const { received } = guest;
      const wanted = received.length < RECORD_HEADER_BYTES ? RECORD_HEADER_BYTES : RECORD_HEADER_BYTES + received.readUInt16BE(3);
      if (received[0] !== HANDSHAKE_RECORD || wanted > RECORD_BYTES_MAX) return refuse(guest, 'not-tls');
      if (received.length < wanted || wanted === RECORD_HEADER_BYTES) return;
      socket.off('data', onData);
      socket.pause();
      socket.unshift(received);
      guest.received = Buffer.alloc(0);
      leave(guest);
      guest.stage = 'queued';
      add(queued, guest);
      pumpSoon();
    };
    socket.on('data', onData);
  };

  const sweep = setInterval(() => {
    const before = performance.now() - limits.handshakeMs;
    for (const guest of guests) {
      if (guest.since > before) break;
      // Who waits in the line has said all there is to say; an agent cut there would only begin again, behind all others.
      if (guest.stage === 'queued' && guest.since > before - limits.handshakeMs) continue;
      if (guest.stage === 'shaking' && guest.begunAt > before) continue;
      refuse(guest, guest.stage === 'shaking' ? 'handshake' : 'silent');
    }
    if (queued.size > 0) pumpSoon();
  }, SWEEP_MS);
  sweep.unref();

  return {
    enter(socket) {
      const address = socket.remoteAddress;
      if (address === undefined) {
        socket.destroy();
        return;
      }
      const guest: Guest = {
        socket,
        address,
        key: keyOf(address, socket.remotePort),
        since: performance.now(),
        stage: 'silent',
        begunAt: 0,
        received: Buffer.alloc(0),
      };
      guests.add(guest);
      byKey.set(guest.key, guest);
      add(silent, guest);
      silentCount += 1;
      socket.on('close', () => finish(guest));
      // TLS reports errors of a socket it has taken over; before that, closing is all that matters.
      socket.on('error', () => {});
      listen(guest);
      const own = silent.get(address);
      const oldest =
        (own?.size ?? 0) > limits.silentPerAddressMax ? first(own) : silentCount > limits.silentMax ? first(largest(silent)) : undefined;
      if (oldest !== undefined) refuse(oldest, 'silent');
    },
    passed(address, port) {
      const guest = byKey.get(keyOf(address, port));
      if (guest !== undefined) finish(guest);
    },
    close() {
      clearInterval(sweep);
      for (const guest of guests) {
        finish(guest);
        guest.socket.destroy();
      }
    },
    get waitingCount() {
      return guests.size;
    },
  };
}
