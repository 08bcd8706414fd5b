import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { expect, test } from 'vitest';
import { pkcs11Contract } from '../contract/pkcs11.contract.ts';
import { openTestToken } from '../support/token.ts';

const systemFiles = ['/etc/softhsm/softhsm2.conf', '/var/lib/softhsm/tokens'];
const fingerprint = (): string[] =>
  systemFiles.map((path) =>
    !existsSync(path)
      ? `${path} absent`
      : statSync(path).isDirectory()
        ? readdirSync(path).join()
        : readFileSync(path, 'utf8'),
  );
const systemBefore = fingerprint();

pkcs11Contract('SoftHSM', (change) => openTestToken(change));

/** Guarantees that nothing of the system's own SoftHSM was touched by this file. */
test('the system’s SoftHSM stays as it was', () => {
  expect(fingerprint()).toEqual(systemBefore);
});
