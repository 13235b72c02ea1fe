/** libvirt's own event stream, read from a child process that is started again whenever it ends. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import type { Log } from '../../../protocol/log.ts';
import { toolEnvironment } from '../../processes.ts';
import { connection } from './virsh.ts';

export interface EventStream {
  close(): Promise<void>;
}
const RESTART_MILLISECONDS = { first: 500, most: 15_000 };
/** A machine that stops makes several events at once; one look covers them all. */
const GATHER_MILLISECONDS = 100;

/** `changed` is called after any change in a domain's life, and whenever the stream begins, since events may have been missed before. */
export function watchDomains(changed: () => void, log: Log): EventStream {
  let child: ChildProcessByStdio<null, Readable, null> | null = null;
  let closed = false;
  let delay = RESTART_MILLISECONDS.first;
  let restart: NodeJS.Timeout | null = null;
  let gather: NodeJS.Timeout | null = null;
  let ended: () => void = () => {};

  const soon = (): void => {
    gather ??= setTimeout(() => {
      gather = null;
      changed();
    }, GATHER_MILLISECONDS);
  };
  const begin = (): void => {
    restart = null;
    child = spawn('virsh', [...connection, 'event', '--loop', '--event', 'lifecycle'], {
      env: toolEnvironment,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const begun = performance.now();
    child.on('error', (err) => log.error({ err }, 'the event stream could not be started'));
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.startsWith("event 'lifecycle'")) soon();
    });
    child.once('close', (code) => {
      child = null;
      if (closed) return ended();
      delay =
        performance.now() - begun > RESTART_MILLISECONDS.most ? RESTART_MILLISECONDS.first : Math.min(delay * 2, RESTART_MILLISECONDS.most);
      log.warn({ code, delay }, 'the event stream ended and will be started again');
      restart = setTimeout(begin, delay);
    });
    soon();
  };
  begin();

  return {
    close: () =>
      new Promise((resolve) => {
        closed = true;
        if (restart) clearTimeout(restart);
        if (gather) clearTimeout(gather);
        if (!child) return resolve();
        ended = resolve;
        child.kill('SIGTERM');
      }),
  };
}
