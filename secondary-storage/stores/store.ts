import type { StoreSpec } from '../../protocol/messages/image.ts';

/** Runs one program to its end and gives back what it printed. */
export type Run = (command: string, commandArguments: readonly string[], options: { timeoutSeconds: number }) => Promise<string>;

export interface StorePlace {
  /** Folder under which stores are mounted. */
  readonly mountFolder: string;
  readonly run: Run;
}

export interface StoreProvider {
  /** Makes the store's files reachable and says where. Repeatable. Fails with a sentence for the operator. */
  readonly open: (spec: StoreSpec, place: StorePlace) => Promise<string>;
  /** Lets go of it; the files stay. */
  readonly close: (spec: StoreSpec, place: StorePlace) => Promise<void>;
}
