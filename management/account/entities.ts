import type { Id } from '../../protocol/schema.ts';
import type { AccountTypeName } from '../core/context.ts';
import { column, table } from '../core/db.ts';

/** A named set of rights. An account has one by name; its type decides which commands it may call. */
export interface RoleRow {
  id: Id<'role'>;
  name: string;
  type: AccountTypeName;
  description: string;
  builtIn: boolean;
  createdAt: Date;
  removedAt: Date | null;
}
export const roles = table<RoleRow>(
  'role',
  {
    id: column.key(),
    name: column.string(),
    type: column.word(16),
    description: column.string(1024),
    builtIn: column.boolean(),
    createdAt: column.time(),
    removedAt: column.nullable(column.time()),
  },
  { indices: [['name']] },
);
export const accountTables = [roles];
