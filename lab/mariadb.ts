import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createConnection } from 'mysql2/promise';
import { command } from './command.ts';
import { ensureSecret, exists, writeTextWhole } from './files.ts';
import { processStatus, startProcess, stopProcess } from './processes.ts';
import { ensureServiceFolder, type ServicePlaces, servicePlaces } from './service-places.ts';

export interface DatabaseConnection {
  readonly socketPath: string;
  readonly user: string;
  readonly password: string;
  readonly database: string;
}

export interface MariadbOptions {
  readonly varDir: string;
  /** `fast` gives up durability, not correctness: for data that a test throws away. */
  readonly durability: 'safe' | 'fast';
}

/**
 * A number of its own instead of an account of the machine: nothing is added to /etc/passwd, and no other service shares it. systemd, homed and
 * Debian leave the numbers from 60578 to 61183 unused.
 */
const MARIADB_UID = 60_906;
export const DATABASE_NAME = 'nephos';
/** Databases of tests; the account may create and drop what starts so, and the one above. */
export const SCRATCH_PREFIX = 'nephos_scratch_';
const USER = 'nephos';

export const serviceUid = (uid: number): number | null => (process.getuid?.() === 0 ? uid : null);

interface Layout extends ServicePlaces {
  readonly uid: number | null;
  readonly home: string;
  readonly data: string;
  readonly socketPath: string;
  readonly pidFile: string;
  readonly logFile: string;
  readonly passwordFile: string;
}

const layoutOf = async (varDir: string): Promise<Layout> => {
  const uid = serviceUid(MARIADB_UID);
  const places = await servicePlaces(varDir, uid !== null);
  const home = join(places.dataDirectory, 'mariadb');
  return {
    ...places,
    uid,
    home,
    data: join(home, 'data'),
    socketPath: join(places.runDirectory, 'mariadb', 'mariadb.sock'),
    pidFile: join(varDir, 'run', 'mariadb.pid.json'),
    logFile: join(varDir, 'log', 'mariadb.log'),
    passwordFile: join(varDir, 'secrets', 'mariadb-password'),
  };
};

const identityOf = (layout: Layout): { uid?: number; gid?: number } => (layout.uid === null ? {} : { uid: layout.uid, gid: layout.uid });

/** Made aside and renamed when whole, so a run cut short leaves nothing half made. */
const ensureDataFiles = async (layout: Layout): Promise<void> => {
  if (await exists(layout.data)) return;
  const fresh = join(layout.home, 'data.new');
  await rm(fresh, { recursive: true, force: true });
  await ensureServiceFolder(fresh, layout.uid, 0o700);
  await command(
    'mariadb-install-db',
    [
      '--no-defaults',
      `--datadir=${fresh}`,
      '--skip-test-db',
      '--auth-root-authentication-method=socket',
      '--auth-root-socket-user=root',
      '--innodb-log-file-size=64M',
      '--innodb-flush-log-at-trx-commit=0',
    ],
    { timeoutSeconds: 120, ...identityOf(layout) },
  );
  await rename(fresh, layout.data);
};

/** Run by the server itself at every start, so accounts and database are right whatever happened before. The password is base64url: no quoting. */
const startStatements = (password: string): string =>
  [
    `CREATE DATABASE IF NOT EXISTS \`${DATABASE_NAME}\` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;`,
    `CREATE USER IF NOT EXISTS '${USER}'@'localhost' IDENTIFIED BY '${password}';`,
    `ALTER USER '${USER}'@'localhost' IDENTIFIED BY '${password}';`,
    `GRANT ALL ON \`${DATABASE_NAME}\`.* TO '${USER}'@'localhost';`,
    // The underscore is a wildcard in a grant unless it is escaped.
    `GRANT ALL ON \`${SCRATCH_PREFIX.replaceAll('_', '\\_')}%\`.* TO '${USER}'@'localhost';`,
    '',
  ].join('\n');

const serverArguments = (layout: Layout, startFile: string, durability: MariadbOptions['durability']): string[] => [
  '--no-defaults',
  `--datadir=${layout.data}`,
  `--socket=${layout.socketPath}`,
  `--pid-file=${join(layout.runDirectory, 'mariadb', 'mariadbd.pid')}`,
  `--tmpdir=${join(layout.home, 'tmp')}`,
  `--init-file=${startFile}`,
  `--secure-file-priv=${join(layout.home, 'files')}`,
  '--skip-networking',
  '--skip-name-resolve',
  '--local-infile=OFF',
  '--character-set-server=utf8mb4',
  '--collation-server=utf8mb4_unicode_ci',
  '--transaction-isolation=READ-COMMITTED',
  '--innodb-buffer-pool-size=128M',
  '--innodb-log-file-size=64M',
  '--key-buffer-size=8M',
  '--aria-pagecache-buffer-size=8M',
  '--performance-schema=OFF',
  '--max-connections=200',
  ...(durability === 'safe' ? ['--innodb-flush-log-at-trx-commit=1'] : ['--innodb-flush-log-at-trx-commit=0', '--skip-innodb-doublewrite']),
];

const answers = async (connection: DatabaseConnection): Promise<boolean> => {
  const session = await createConnection({ ...connection, connectTimeout: 2000 });
  try {
    await session.query('SELECT 1');
    return true;
  } finally {
    await session.end();
  }
};

/** The settings to reach the server, whether it runs or not. */
export const mariadbConnection = async (varDir: string): Promise<DatabaseConnection> => {
  const layout = await layoutOf(varDir);
  return { socketPath: layout.socketPath, user: USER, password: await ensureSecret(layout.passwordFile), database: DATABASE_NAME };
};

export const startMariadb = async ({ varDir, durability }: MariadbOptions): Promise<DatabaseConnection> => {
  const layout = await layoutOf(varDir);
  const connection = await mariadbConnection(varDir);
  await ensureServiceFolder(layout.dataDirectory, null, 0o755);
  await ensureServiceFolder(layout.runDirectory, null, 0o755);
  for (const folder of [layout.home, join(layout.home, 'tmp'), join(layout.home, 'files')])
    await ensureServiceFolder(folder, layout.uid, 0o700);
  // Everybody may reach the socket, as with any database; the password decides.
  await ensureServiceFolder(join(layout.runDirectory, 'mariadb'), layout.uid, 0o755);
  await ensureDataFiles(layout);
  const startFile = join(layout.home, 'start.sql');
  await writeTextWhole(startFile, startStatements(connection.password), 0o600, layout.uid);
  await startProcess({
    name: 'MariaDB',
    pidFile: layout.pidFile,
    logFile: layout.logFile,
    file: '/usr/sbin/mariadbd',
    args: serverArguments(layout, startFile, durability),
    ...identityOf(layout),
    ready: () => answers(connection),
    readyTimeoutSeconds: 60,
  });
  return connection;
};

export const mariadbStatus = async (varDir: string): Promise<'running' | 'stopped'> => processStatus((await layoutOf(varDir)).pidFile);

export const stopMariadb = async (varDir: string): Promise<boolean> =>
  stopProcess({ name: 'MariaDB', pidFile: (await layoutOf(varDir)).pidFile, graceSeconds: 60 });
