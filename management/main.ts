/** The management server's process: `node main.js <configuration file>`. */
import { createLog } from '../protocol/log.ts';
import { readConfig } from './config.ts';
import { startManagement } from './server.ts';

const log = createLog('management');
const path = process.argv[2] ?? 'var/management.json';
const management = await startManagement({ config: readConfig(path), log }).catch((error: unknown) => {
  log.fatal({ err: error }, 'the management server did not start');
  process.exit(1);
});
let ending = false;
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    if (ending) return;
    ending = true;
    log.info({ signal }, 'the management server stops');
    management.close().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ err: error }, 'the management server did not stop cleanly');
        process.exit(1);
      },
    );
  });
}
process.on('unhandledRejection', (error) => log.error({ err: error }, 'a rejection that nobody handled'));
