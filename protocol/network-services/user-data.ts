import { type Infer, s } from '../schema.ts';

/** What the metadata server answers, by the asking guest's address. */
export const UserData = s.object({
  guests: s.list(
    s.object({
      address: s.ip4(),
      /** Path below /latest/meta-data/ to value; a path such as public-keys may hold several lines. */
      metadata: s.record(s.text({ max: 32_768 }), { max: 64 }),
      /** Base64 of the bytes; empty when there is none. */
      userData: s.text({ max: 1_500_000 }),
      /** Served once on port 8080, until the guest says it has saved it; null when there is none. */
      password: s.nullable(s.object({ generation: s.int(), text: s.string({ max: 100 }) })),
    }),
    { max: 65_536 },
  ),
});
export type UserData = Infer<typeof UserData>;
