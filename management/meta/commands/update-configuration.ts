import { CloudError } from '../../../protocol/errors.ts';
import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { configurationView, findSetting, imageStoreParam, placeOf, placeParams, shownSetting } from '../configuration.ts';

export const updateConfiguration = command({
  name: 'updateConfiguration',
  about: 'Gives a setting a value, for the whole cloud or for one part of it; it counts within seconds.',
  access: 'domainAdmin',
  event: { type: 'CONFIGURATION.VALUE.EDIT', text: 'updating configuration' },
  params: {
    ...placeParams,
    imagestoreuuid: imageStoreParam,
    name: required(p.string('the name of the setting')),
    value: p.string('the value', { max: 4096 }),
  },
  reply: reply.one(configurationView),
  run: async ({ settings, caller }, params) => {
    const place = placeOf(caller, { ...params, imagestore: params.imagestoreuuid });
    const definition = findSetting(settings, params.name, place);
    if (params.value === undefined) throw new CloudError('InvalidParameter', 'give the value; resetConfiguration goes back to the default');
    await settings.set(definition.name, place.scope, place.scopeId, params.value);
    return shownSetting(settings, definition, place);
  },
});
