import { setting } from '../core/settings.ts';

export const imageSizeMaxGib = setting.integer('max.template.iso.size', 50, {
  min: 1,
  max: 100_000,
  category: 'Secondary Storage',
  about: 'Largest template or ISO, in GiB.',
});
export const templateSettings = [imageSizeMaxGib];
