/** Append only: each release's change of the tables. */
export const migrations: readonly (new () => object)[] = [];
