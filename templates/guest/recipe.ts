import type { OnProgress } from '../debian.ts';
import type { RecipeValue } from '../recipe.ts';

export interface GuestRecipe {
  readonly name: string;
  /** Everything that decides what the disk holds. */
  readonly recipe: () => Promise<RecipeValue>;
  /** Leaves `disk.qcow2` in the directory. */
  readonly build: (directory: string, onProgress: OnProgress) => Promise<void>;
}
