import { type Area, asSagas, asTables } from '../core/area.ts';
import { asCommands } from '../core/command.ts';
import { deleteIso } from './commands/delete-iso.ts';
import { deleteTemplate } from './commands/delete-template.ts';
import { listIsoPermissions } from './commands/list-iso-permissions.ts';
import { listIsos } from './commands/list-isos.ts';
import { listOsCategories } from './commands/list-os-categories.ts';
import { listOsTypes } from './commands/list-os-types.ts';
import { listTemplatePermissions } from './commands/list-template-permissions.ts';
import { listTemplates } from './commands/list-templates.ts';
import { registerIso } from './commands/register-iso.ts';
import { registerTemplate } from './commands/register-template.ts';
import { updateIso } from './commands/update-iso.ts';
import { updateIsoPermissions } from './commands/update-iso-permissions.ts';
import { updateTemplate } from './commands/update-template.ts';
import { updateTemplatePermissions } from './commands/update-template-permissions.ts';
import { templateTables } from './entities.ts';
import { seedOsTypes } from './os-types.ts';
import { writeProgress } from './progress.ts';
import { zonesReconciler } from './reconcilers/zones.ts';
import { deleteTemplateSaga } from './sagas/delete-template.ts';
import { downloadTemplateSaga } from './sagas/download-template.ts';
import { templateSettings } from './settings.ts';

export {
  type ImageStoreRow,
  imageStores,
  type OsTypeRow,
  osTypes,
  type StoredImageRow,
  storedImages,
  type TemplateRow,
  templates,
} from './entities.ts';
export { diskTemplateKind, imageStoreKind, isoKind, osCategoryKind, osTypeKind, templateKind } from './kinds.ts';
export { loadTemplates, type TemplateShown, templateView } from './views.ts';

export const templateArea: Area = {
  name: 'template',
  tables: asTables(...templateTables),
  commands: asCommands(
    registerTemplate,
    listTemplates,
    updateTemplate,
    deleteTemplate,
    updateTemplatePermissions,
    listTemplatePermissions,
    registerIso,
    listIsos,
    updateIso,
    deleteIso,
    updateIsoPermissions,
    listIsoPermissions,
    listOsTypes,
    listOsCategories,
  ),
  sagas: asSagas(downloadTemplateSaga, deleteTemplateSaga),
  reconcilers: [zonesReconciler],
  settings: templateSettings,
  agentHooks: { beat: writeProgress },
  seed: seedOsTypes,
};
