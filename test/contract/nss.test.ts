import { describe, expect, test } from 'vitest';
import { nssModule, openNssToken } from '../support/nss.ts';
import { hsmContract } from './hsm.contract.ts';
import { pkcs11Contract } from './pkcs11.contract.ts';
import { vectorsContract } from './vectors.contract.ts';

// In CI a missing module is a failure, not a reason to skip.
const missing = nssModule === undefined && process.env['CI'] !== 'true';
if (missing) process.stdout.write('skipped: the HSM suites over NSS, for want of libsoftokn3.so (libnss3)\n');

describe.skipIf(missing)('NSS softokn', () => {
  hsmContract('port', () => openNssToken());
  // CKA_LOCAL of a secret key is not kept in the database.
  pkcs11Contract('adapter', openNssToken, { local: false });
  vectorsContract('vectors', () => openNssToken());

  /** Guarantees that an operator hears of it whenever a module is opened that does not keep its keys. */
  test('says that keys can leave', async () => {
    const events: string[] = [];
    const token = await openNssToken({}, (level, event) => events.push(`${level} ${event}`));
    await token.close();
    expect(events).toContain('warn hsm.keys-can-leave');
  });
});
