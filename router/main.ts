import { serve } from '../systemvm/serve.ts';
import { routerRole } from './role.ts';

await serve(routerRole);
