/** Machines that are, or may be, on a host. Their table is of an area further up and only looked at here. */
export const machinesOn = (condition: string, columns: string): string =>
  `SELECT ${columns} FROM machine WHERE host_id = ? AND removed_at IS NULL AND state IN ('Starting', 'Running', 'Stopping', 'Migrating') AND ${condition}`;
