/**
 * Memory of buffers that are read and let go. It lies outside V8's heap, which takes it for no reason to collect: while a large file passes
 * through in pieces, tens of mebibytes of pieces that nobody needs any more pile up. So whoever passes on large files says how much has passed.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const COLLECT_BYTES = 4 * 1024 * 1024;

type Collect = (options: { readonly type: 'minor' }) => void;
let collect: Collect | null = null;

/** V8 hands out its collector only to a context that is made while this flag is set. */
function collector(): Collect {
  setFlagsFromString('--expose-gc');
  const found: unknown = runInNewContext('gc');
  setFlagsFromString('--no-expose-gc');
  return typeof found === 'function' ? (options) => void found(options) : () => undefined;
}

/** To be told of the size of each piece when it has been used; every few mebibytes the young pieces are collected. */
export function passedBytes(): (bytes: number) => void {
  let sinceBytes = 0;
  return (bytes) => {
    sinceBytes += bytes;
    if (sinceBytes < COLLECT_BYTES) return;
    sinceBytes = 0;
    collect ??= collector();
    collect({ type: 'minor' });
  };
}
