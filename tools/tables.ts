/** What the migrations make of an empty database, held against the tables that the areas declare. */

import { createScratchDatabase } from '../lab/services.ts';
import { allAreas } from '../management/areas.ts';
import { registry } from '../management/core/command.ts';
import { openDatabase } from '../management/core/db.ts';
import { migrations } from '../management/migrations/index.ts';
import { everyTable } from '../management/server.ts';
import { createLog } from '../protocol/log.ts';

export interface TableChanges {
  readonly up: readonly string[];
  readonly down: readonly string[];
}

/** The statements still missing after all migrations; none when they match the tables. */
export async function missingStatements(): Promise<TableChanges> {
  const scratch = await createScratchDatabase();
  try {
    const tables = everyTable(allAreas(() => registry([])));
    const config = { ...scratch.database, poolSize: 2 };
    const database = await openDatabase(config, tables, migrations as Parameters<typeof openDatabase>[2], createLog('tables'));
    try {
      await database.source.runMigrations({ transaction: 'each' });
      const { upQueries, downQueries } = await database.source.driver.createSchemaBuilder().log();
      return { up: upQueries.map(({ query }) => query), down: downQueries.map(({ query }) => query).reverse() };
    } finally {
      await database.close();
    }
  } finally {
    await scratch.drop();
  }
}
