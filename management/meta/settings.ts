import { enforcePostAndTimestamps } from '../core/auth/signature.ts';
import { setting } from '../core/settings.ts';

export const uiPageSize = setting.integer('default.ui.page.size', 20, {
  min: 1,
  max: 500,
  about: 'Rows on a page of the web interface.',
});
export const jobKeepMinutes = setting.integer('job.expire.minutes', 1440, {
  min: 60,
  max: 5_256_000,
  about: 'Minutes for which a job can be asked for after it has ended.',
});
export const eventKeepDays = setting.integer('event.purge.delay', 15, {
  max: 36_500,
  about: 'Days for which events are kept; 0 keeps them for ever.',
});
export const alertKeepDays = setting.integer('alert.purge.delay', 0, {
  max: 36_500,
  about: 'Days for which an alert is kept after it was raised last; 0 keeps them for ever.',
});

export const metaSettings = [uiPageSize, enforcePostAndTimestamps, jobKeepMinutes, eventKeepDays, alertKeepDays];
