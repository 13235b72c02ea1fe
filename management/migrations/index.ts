/** Append only: each release's change of the tables. */
import { FirstSchema } from './0001-first-schema.ts';
import { SystemVmBoots } from './0002-system-vm-boots.ts';

export const migrations: readonly (new () => object)[] = [FirstSchema, SystemVmBoots];
