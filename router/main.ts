import { serve } from '../systemvm/serve.ts';
import { routerRole } from './role.ts';

// Not awaited: the program is also run as CommonJS, from a snapshot, where nothing can be awaited at the top level.
void serve(routerRole);
