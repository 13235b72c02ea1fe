import { setting } from '../core/settings.ts';

export const imageSizeMaxGib = setting.integer('max.template.iso.size', 50, {
  min: 1,
  max: 100_000,
  category: 'Secondary Storage',
  about: 'Largest template or ISO, in GiB.',
});
export const publicByUsers = setting.boolean('allow.public.user.templates', true, {
  scopes: ['global', 'domain', 'account'],
  category: 'Advanced',
  about: 'Whether accounts that are not root admins may make their templates and ISOs public.',
});
export const templateSettings = [imageSizeMaxGib, publicByUsers];
