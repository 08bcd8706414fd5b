import { type CipherAlgorithm as Algorithm, cipherSuites as suites } from '../../src/crypto/suites.ts';
import { parseCiphertext } from '../../src/envelope/format.ts';
import { versionFromRow } from '../../src/keys/key.ts';
import { openSeed } from '../../src/keys/sealed-seed.ts';
import { inside } from '../keys/support.ts';
import type { Planted } from '../service/traces.ts';
import { hchacha20 } from '../support/reference-aead.ts';

/** The algorithms that work in the service's memory. */
export const inProcess = Object.values(suites)
  .filter(({ protection }) => protection !== 'hsm')
  .map(({ name }) => name);

/**
 * What the service has in its memory for the time of opening `ciphertexts`: seeds, and the keys derived for these
 * messages. Read with the service's own database and token while it is stopped.
 */
export async function keysInUse(
  dataDir: string,
  ciphertexts: ReadonlyMap<Algorithm, Buffer>,
): Promise<Planted[]> {
  return await inside(dataDir, async ({ hsm, store, systemKeys }) => {
    const planted: Planted[] = [];
    for (const [algorithm, ciphertext] of ciphertexts) {
      const { nonce = new Uint8Array(0) } = parseCiphertext(ciphertext) ?? {};
      const ofAlgorithm = store.db.selectFrom('key_versions').selectAll().where('algorithm', '=', algorithm);
      const row = await ofAlgorithm.executeTakeFirstOrThrow();
      const version = versionFromRow(row, await systemKeys.kek(row.kek_id));
      const add = (name: string, bytes: Uint8Array) =>
        planted.push({ name: `${name} of ${algorithm}`, bytes: Buffer.from(bytes) });
      if (algorithm === 'xaes-256-gcm') {
        const halves = [1, 2].map((counter) =>
          hsm.mac(version.ref, Buffer.from([0, counter, 0x58, 0, ...nonce.subarray(0, 12)])),
        );
        // Both halves are looked for, so that neither can be left alone.
        for (const half of await Promise.all(halves)) add(`half of the derived key`, half);
        continue;
      }
      const seed = await openSeed(hsm, version);
      add('seed', seed);
      if (nonce.length === 24) add('subkey', hchacha20(seed, nonce.subarray(0, 16)));
    }
    return planted;
  });
}
