import { enforcePostAndTimestamps } from '../core/auth/signature.ts';
import { setting } from '../core/settings.ts';

export const uiPageSize = setting.integer('default.ui.page.size', 20, {
  min: 1,
  max: 500,
  about: 'Rows on a page of the web interface.',
});

export const metaSettings = [uiPageSize, enforcePostAndTimestamps];
