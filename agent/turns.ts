/**
 * Work on the same thing takes turns: a message may arrive twice at once, and the second must find what the first has done. Work on
 * different things runs side by side.
 */
export interface Turns {
  take<T>(key: string, work: () => Promise<T>): Promise<T>;
}

export function turns(): Turns {
  const last = new Map<string, Promise<unknown>>();
  return {
    take: <T>(key: string, work: () => Promise<T>): Promise<T> => {
      const before = last.get(key) ?? Promise.resolve();
      const mine = before.then(work, work);
      const settled = mine.then(
        () => {},
        () => {},
      );
      last.set(key, settled);
      void settled.then(() => {
        if (last.get(key) === settled) last.delete(key);
      });
      return mine;
    },
  };
}

/** Finds something out once; a failure is not remembered. */
export function remembered<T>(find: () => Promise<T>): () => Promise<T> {
  let kept: Promise<T> | null = null;
  return () => {
    kept ??= find().catch((error: unknown) => {
      kept = null;
      throw error;
    });
    return kept;
  };
}
