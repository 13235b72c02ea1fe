/**
 * Jobs of commands that the contract calls asynchronous and whose work is one transaction. That transaction also writes the job, so both
 * are there or neither, and what is wrong with a request is told at once. The job has nothing left but to show the result.
 */
import { type Infer, s } from '../../../protocol/schema.ts';
import { type Saga, type StepContext, saga } from '../../core/saga.ts';
import { show, type View } from '../../core/view.ts';
import { hostView, loadHosts } from '../host-views.ts';
import {
  loadPhysicalNetworks,
  loadPods,
  loadProviders,
  loadStorageRanges,
  loadTrafficTypes,
  one,
  physicalNetworkView,
  podView,
  providerView,
  routerElementView,
  storageRangeView,
  trafficTypeView,
} from '../views.ts';

const Subject = s.object({ id: s.string({ max: 36 }) });
type Subject = Infer<typeof Subject>;

const shown = <R>(
  name: string,
  view: View<R>,
  load: (context: StepContext, ids: readonly string[]) => Promise<readonly R[]>,
): Saga<Subject, unknown> =>
  saga<Subject, unknown>({
    name,
    version: 1,
    input: Subject,
    run: (run, { id }) => run.step('shown', async () => id),
    result: async (context, _outcome, { id }) => ({
      [view.key]: show(view.fields, one(await load(context, [id])), { admin: true }),
    }),
  });

export const podShown = shown('infra.podShown', podView, loadPods);
export const hostShown = shown('infra.hostShown', hostView, loadHosts);
export const physicalNetworkShown = shown('infra.physicalNetworkShown', physicalNetworkView, loadPhysicalNetworks);
export const trafficTypeShown = shown('infra.trafficTypeShown', trafficTypeView, loadTrafficTypes);
export const providerShown = shown('infra.providerShown', providerView, loadProviders);
export const routerElementShown = shown('infra.routerElementShown', routerElementView, loadProviders);
export const storageRangeShown = shown('infra.storageRangeShown', storageRangeView, loadStorageRanges);

/** Something was removed; there is nothing to show. */
export const removed = saga<Subject, unknown>({
  name: 'infra.removed',
  version: 1,
  input: Subject,
  run: (run, { id }) => run.step('shown', async () => id),
});
