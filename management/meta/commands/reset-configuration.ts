import { command, reply } from '../../core/command.ts';
import { p, required } from '../../core/params.ts';
import { configurationView, findSetting, imageStoreParam, placeOf, placeParams, shownSetting } from '../configuration.ts';

export const resetConfiguration = command({
  name: 'resetConfiguration',
  about: 'Takes the value of a setting back to the one it has unless set.',
  access: 'admin',
  event: { type: 'CONFIGURATION.VALUE.EDIT', text: 'resetting configuration' },
  params: { ...placeParams, imagestoreid: imageStoreParam, name: required(p.string('the name of the setting')) },
  reply: reply.one(configurationView),
  run: async ({ settings, caller }, params) => {
    const place = placeOf(caller, { ...params, imagestore: params.imagestoreid });
    const definition = findSetting(settings, params.name, place);
    await settings.reset(definition.name, place.scope, place.scopeId);
    return shownSetting(settings, definition, place);
  },
});
