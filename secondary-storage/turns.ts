/** Lets at most so many do their work at a time; the others wait in the order they came. The number may change. */
export function turns(atOnce: () => number): <T>(work: () => Promise<T>, signal?: AbortSignal) => Promise<T> {
  let running = 0;
  const waiting: (() => void)[] = [];
  const next = (): void => {
    while (running < atOnce() && waiting.length > 0) {
      running += 1;
      waiting.shift()?.();
    }
  };
  return async (work, signal) => {
    await new Promise<void>((resolve, reject) => {
      const start = (): void => {
        signal?.removeEventListener('abort', leave);
        resolve();
      };
      const leave = (): void => {
        const place = waiting.indexOf(start);
        if (place < 0) return;
        waiting.splice(place, 1);
        reject(signal?.reason);
      };
      signal?.throwIfAborted();
      signal?.addEventListener('abort', leave, { once: true });
      waiting.push(start);
      next();
    });
    try {
      return await work();
    } finally {
      running -= 1;
      next();
    }
  };
}
