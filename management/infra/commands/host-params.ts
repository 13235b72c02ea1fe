import { CloudError } from '../../../protocol/errors.ts';
import { p } from '../../core/params.ts';

export const hostTagsParam = () => p.texts('its tags; machines whose offering asks for a tag go to hosts that have it');

/** In the order given, each once. */
export function readHostTags(tags: readonly string[]): string[] {
  const unique = [...new Set(tags)];
  const bad = unique.find((tag) => !/^[A-Za-z0-9][A-Za-z0-9_.:-]{0,62}$/.test(tag));
  if (bad !== undefined)
    throw new CloudError(
      'InvalidParameter',
      `the host tag ${bad.slice(0, 70)} must be of letters, digits, dots, colons, hyphens and underscores`,
    );
  if (unique.join(',').length > 255) throw new CloudError('InvalidParameter', 'a host can have tags of at most 255 characters in all');
  return unique;
}
