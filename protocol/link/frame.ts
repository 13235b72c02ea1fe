/**
 * What travels on a link: one JSON object per WebSocket message. The envelope drops fields it does not know, and an unknown kind of
 * frame is skipped, so that the two ends may be one version apart; bodies are checked strictly by their own schemas.
 */
import { CloudError } from '../errors.ts';
import { PeerKindShape } from '../kinds.ts';
import { Beat, bellSubjects } from '../messages/beat.ts';
import { type Infer, parse, type Schema, s, UUID_PATTERN } from '../schema.ts';

export const PROTOCOL_VERSION = 1;
/** A link on which nothing was heard for so many heartbeats is dead, to either end. */
export const BEATS_MISSED_MAX = 3;
export const FRAME_BYTES_MAX = 16 * 1024 * 1024;
/** A connection that has this much unsent is not being read at the other end; it is cut instead of filling the memory. */
export const UNSENT_BYTES_MAX = 4 * FRAME_BYTES_MAX;

const frameId = s.string({ min: 1, max: 64 });
const base64 = s.string({ max: 2000, match: /^[A-Za-z0-9+/=]+$/ });

export const frames = {
  /** First frame of an agent. */
  hello: s
    .object({
      kind: s.literal('hello'),
      body: s
        .object({ kind: PeerKindShape, id: s.string({ match: UUID_PATTERN }), version: s.string({ max: 80 }), protocol: s.int() })
        .strip(),
    })
    .strip(),
  /** The server's reply to it; tells the agent how often to send a heartbeat. */
  welcome: s
    .object({
      kind: s.literal('welcome'),
      body: s.object({ serverId: s.string({ max: 64 }), beatMs: s.int({ min: 1, max: 600_000 }), protocol: s.int() }).strip(),
    })
    .strip(),
  ask: s
    .object({
      kind: s.literal('ask'),
      id: frameId,
      name: s.string({ min: 1, max: 100 }),
      body: s.unknown(),
      requestId: s.string({ max: 100 }),
      timeoutMs: s.int({ min: 1 }),
      job: s.optional(s.string({ max: 64 })),
      epoch: s.optional(s.int()),
    })
    .strip(),
  /** The asker no longer waits. */
  cancel: s.object({ kind: s.literal('cancel'), id: frameId }).strip(),
  answer: s.object({ kind: s.literal('answer'), id: frameId, body: s.unknown() }).strip(),
  refusal: s
    .object({ kind: s.literal('refusal'), id: frameId, body: s.object({ code: s.string(), message: s.text({ max: 10_000 }) }).strip() })
    .strip(),
  bell: s.object({ kind: s.literal('bell'), name: s.oneOf(...bellSubjects) }).strip(),
  beat: s.object({ kind: s.literal('beat'), body: Beat }).strip(),
  /** The server's reply to a beat: the agent, too, must notice a dead link. */
  heard: s.object({ kind: s.literal('heard') }).strip(),
  bye: s.object({ kind: s.literal('bye'), body: s.object({ reason: s.string({ max: 200 }) }).strip() }).strip(),
  renew: s.object({ kind: s.literal('renew'), id: frameId, body: s.object({ publicKey: base64, proof: base64 }).strip() }).strip(),
  renewed: s
    .object({
      kind: s.literal('renewed'),
      id: frameId,
      body: s.object({ certificatePem: s.text({ max: 65_536 }), caPem: s.text({ max: 65_536 }), notAfter: s.time() }).strip(),
    })
    .strip(),
} as const;

export type FrameKind = keyof typeof frames;
export type FrameOf<K extends FrameKind> = Infer<(typeof frames)[K]>;
export type Frame = { [K in FrameKind]: FrameOf<K> }[FrameKind];

export const AGENT_KINDS = ['hello', 'answer', 'refusal', 'bell', 'beat', 'bye', 'renew'] as const;
export const SERVER_KINDS = ['welcome', 'ask', 'cancel', 'heard', 'bye', 'renewed', 'refusal'] as const;

/** Gives the frame, or null for a kind this end does not take; throws for anything malformed. */
export function decode<K extends FrameKind>(text: string, kinds: readonly K[]): FrameOf<K> | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new CloudError('MalformedParameter', 'a frame must be JSON', { cause });
  }
  if (typeof value !== 'object' || value === null || !('kind' in value))
    throw new CloudError('MalformedParameter', 'a frame must have a kind');
  const kind = kinds.find((known) => known === value.kind);
  if (kind === undefined) return null;
  const shape: Schema<unknown> = frames[kind];
  return parse(shape, value, `${kind} frame`) as FrameOf<K>;
}

/** Frames are sent as text; one that is too large is refused here, because the far end would cut the link for it. */
export function encode(frame: Frame): string {
  const text = JSON.stringify(frame);
  if (text.length > FRAME_BYTES_MAX || Buffer.byteLength(text) > FRAME_BYTES_MAX) {
    throw new CloudError('InvalidParameter', `a message of more than ${FRAME_BYTES_MAX / 1024 / 1024} MiB cannot be sent`, {
      kind: frame.kind,
    });
  }
  return text;
}

export const JoinRequest = s.object({
  kind: PeerKindShape,
  id: s.string({ match: UUID_PATTERN }),
  token: s.string({ min: 16, max: 200, match: /^[A-Za-z0-9_-]+$/ }),
  publicKey: base64,
  proof: base64,
});
export type JoinRequest = Infer<typeof JoinRequest>;

export const JoinAnswer = s.object({ certificatePem: s.text({ max: 65_536 }), caPem: s.text({ max: 65_536 }), notAfter: s.time() }).strip();
export type JoinAnswer = Infer<typeof JoinAnswer>;
