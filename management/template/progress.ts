import type { Beat } from '../../protocol/messages/beat.ts';
import type { Peer } from '../core/area.ts';
import type { Services } from '../core/services.ts';
import { percentOf } from './rules.ts';

/** What a secondary storage VM says of its downloads goes into their rows, one statement for each that has got further. */
export async function writeProgress({ db }: Pick<Services, 'db'>, { kind, id }: Peer, { secondaryStorage }: Beat): Promise<void> {
  if (kind !== 'secondary-storage') return;
  for (const download of secondaryStorage?.downloads ?? []) {
    const percent = percentOf(download);
    await db.rows(
      `UPDATE stored_image si JOIN agent a ON a.id = ? AND a.zone_id = si.zone_id SET si.percent = ?, si.updated_at = ?, si.error = NULL
        WHERE si.template_id = ? AND si.removed_at IS NULL AND si.state = 'DOWNLOAD_IN_PROGRESS' AND si.percent <> ?`,
      [id, percent, new Date(), download.imageId, percent],
    );
  }
}
