import { command, reply } from '../../core/command.ts';
import { pageOf, pageParams } from '../../core/list.ts';
import { p } from '../../core/params.ts';
import { configurationView, imageStoreParam, placeOf, placeParams, shownSetting } from '../configuration.ts';

export const listConfigurations = command({
  name: 'listConfigurations',
  about: 'Lists settings with their values, for the whole cloud or for one part of it.',
  access: 'domainAdmin',
  params: {
    ...pageParams,
    ...placeParams,
    imagestoreuuid: imageStoreParam,
    name: p.string('only the setting of this name'),
    category: p.string('only settings of this category'),
  },
  reply: reply.list(configurationView),
  run: async (context, params) => {
    const { settings, caller } = context;
    const place = placeOf(caller, { ...params, imagestore: params.imagestoreuuid });
    const word = params.keyword?.toLowerCase();
    const found = settings.all
      .filter(({ scopes }) => place.scope === 'global' || scopes.includes(place.scope))
      .filter(({ name }) => params.name === undefined || name === params.name)
      .filter(({ category }) => params.category === undefined || category.toLowerCase() === params.category.toLowerCase())
      .filter(({ name, about }) => word === undefined || name.toLowerCase().includes(word) || about.toLowerCase().includes(word))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    return pageOf(
      context,
      params,
      found.map((definition) => shownSetting(settings, definition, place)),
    );
  },
});
