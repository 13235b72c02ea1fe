import { Secret, s } from '../../../protocol/schema.ts';
import { saga } from '../../core/saga.ts';
import { guestMetadata } from '../../network/index.ts';
import { newPassword } from '../deploy.ts';
import { writeMetadata } from '../metadata.ts';
import { vmResult } from '../results.ts';

/** A new password for a stopped guest, which fetches it from its router at its next start. */
export const resetPasswordSaga = saga({
  name: 'vm.resetPassword',
  version: 1,
  /** Sealed; null: make one up. */
  input: s.object({ id: s.id('machine'), sealedPassword: s.nullable(s.string({ max: 4096 })) }),
  run: async (run, { id, sealedPassword }) => {
    await run.step('password', async (tx, { secrets }) => {
      await writeMetadata(tx, id, { sealed: sealedPassword ?? secrets.seal(new Secret(newPassword())) });
      return null;
    });
    // Its routers are told before it starts. One that is away now must not make this fail, as the new password counts already.
    await run.step('routers', async (_tx, { wake }) => {
      wake('router');
      return null;
    });
    return { id };
  },
  result: async (context, { id }) => {
    const row = await context.db.read.findOneBy(guestMetadata, { machineId: id });
    return vmResult(context, id, row?.password ? context.secrets.open(row.password) : undefined);
  },
});
