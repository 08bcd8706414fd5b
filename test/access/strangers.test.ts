import { expect, test } from 'vitest';
import { createAuthenticator } from '../../src/access/authenticate.ts';
import { makeTokenSecret } from '../../src/access/token-secret.ts';
import { systemClock } from '../../src/core/clock.ts';
import { newId } from '../../src/core/ids.ts';
import { createRowAuthenticator } from '../../src/store/rows.ts';
import type { Store } from '../../src/store/store.ts';
import { mac, place } from '../audit/support.ts';

/** A database whose answers the test holds back. */
function held(store: Store) {
  const opened = Promise.withResolvers<void>();
  const prepare: Store['prepare'] = (build) => {
    const query = store.prepare(build);
    return async (...parameters) => {
      await opened.promise;
      return query(...parameters);
    };
  };
  return { store: { ...store, prepare }, open: opened.resolve };
}

/**
 * Guarantees that tokens nobody knows make a bounded number of requests wait for a slow database, that the others are
 * told to come back, and that places are free again afterwards.
 */
test('strangers who wait for the database are bounded', async () => {
  const { store: real } = await place();
  const { store, open } = held(real);
  const authenticator = createAuthenticator({ store, rows: createRowAuthenticator(mac), clock: systemClock });
  const ask = () => authenticator.authenticate(`Bearer ${makeTokenSecret(newId()).text}`);
  const flood = Array.from({ length: 2_000 }, ask);
  const codes = Promise.all(flood.map((each) => each.catch((error: { code: string }) => error.code)));
  open();
  const counts = Map.groupBy(await codes, (code) => code);
  expect(counts.get('service/overloaded')).toHaveLength(2_000 - 1_024);
  expect(counts.get('access/unauthenticated')).toHaveLength(1_024);
  await expect(ask()).rejects.toMatchObject({ code: 'access/unauthenticated' });
});
