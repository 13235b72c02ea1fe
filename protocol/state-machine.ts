import { CloudError } from './errors.ts';

/**
 * A state machine is a table. The server moves by it, the portal greys out buttons by it, the manual prints it.
 * Every target must itself be a row: a transition to a state that does not exist does not compile.
 */
type Table<T> = { readonly [From in keyof T]: { readonly [event: string]: keyof T & string } };

export function stateMachine<const T extends Table<T>>(noun: string, table: T) {
  type State = keyof T & string;
  const rows: Readonly<Record<string, Readonly<Record<string, State>>>> = table;
  return {
    noun,
    table,
    states: Object.keys(table) as [State, ...State[]],
    can: (from: State, event: string): boolean => rows[from]?.[event] !== undefined,
    next: (from: State, event: string): State => {
      const to = rows[from]?.[event];
      if (to === undefined) throw new CloudError('WrongState', `a ${noun} that is ${from} cannot ${event}`);
      return to;
    },
  };
}
export type StateOf<M extends { states: readonly string[] }> = M['states'][number];
