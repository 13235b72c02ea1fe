/** Commands of the machinery itself: what the API offers, jobs, events, alerts, settings. */
import type { Area } from '../core/area.ts';
import { type AnyCommand, asCommands } from '../core/command.ts';
import { listAlerts } from './commands/list-alerts.ts';
import { listApis } from './commands/list-apis.ts';
import { listAsyncJobs } from './commands/list-async-jobs.ts';
import { listCapabilities } from './commands/list-capabilities.ts';
import { listConfigurations } from './commands/list-configurations.ts';
import { listEventTypes } from './commands/list-event-types.ts';
import { listEvents } from './commands/list-events.ts';
import { queryAsyncJobResult } from './commands/query-async-job-result.ts';
import { resetConfiguration } from './commands/reset-configuration.ts';
import { updateConfiguration } from './commands/update-configuration.ts';
import { purge } from './reconcilers/purge.ts';
import { metaSettings } from './settings.ts';

/** `commands` are all that the server offers; asked for at each call, because the server is put together from its areas. */
export const metaArea = (commands: () => readonly AnyCommand[]): Area => ({
  name: 'meta',
  tables: [],
  commands: asCommands(
    listApis(commands),
    listCapabilities,
    queryAsyncJobResult,
    listAsyncJobs,
    listEvents,
    listEventTypes(commands),
    listAlerts,
    listConfigurations,
    updateConfiguration,
    resetConfiguration,
  ),
  sagas: [],
  reconcilers: [purge],
  settings: metaSettings,
});
