// Encrypts with the PKCS#11 module by synchronous calls, and with node:crypto. Takes jobs from the process that
// forked it and sends back the rates; ends with it.
import { createCipheriv, createSecretKey, randomBytes } from 'node:crypto';
import { loadModule, readOnlySession, slotsWithLabel } from '../../src/hsm/pkcs11/cryptoki.ts';
import { gcmMechanism } from '../../src/hsm/pkcs11/known-answers.ts';
import { knownKeyTemplate } from '../../src/hsm/pkcs11/objects.ts';
import { openTestToken } from '../../test/support/token.ts';

export interface FloorJob {
  readonly plaintextBytes: number;
  readonly aadBytes: number;
  readonly milliseconds: number;
}

export interface FloorRates {
  /** Encryptions a second by the module. */
  readonly pkcs11: number;
  /** Encryptions a second by node:crypto, its key in this process. */
  readonly nodeCrypto: number;
}

const itemCount = 1_000;
const key = randomBytes(32);
const keyObject = createSecretKey(key);

/** Rate of `encrypt` over the items in turn. */
function rateOf(milliseconds: number, encrypt: (item: number) => void): number {
  const start = performance.now();
  let operations = 0;
  for (; performance.now() - start < milliseconds; operations += itemCount) {
    for (let item = 0; item < itemCount; item += 1) encrypt(item);
  }
  return (operations * 1_000) / (performance.now() - start);
}

const token = await openTestToken();
// The adapter has initialized the module and logged in: this is one session more.
const cryptoki = loadModule(token.settings.module);
const [slot] = slotsWithLabel(cryptoki, token.settings.tokenLabel);
if (slot === undefined) throw new Error('the token is not there');
const session = cryptoki.C_OpenSession(slot, readOnlySession);
const handle = cryptoki.C_CreateObject(session, knownKeyTemplate('aes', key, ['encrypt']));

function measure({ plaintextBytes, aadBytes, milliseconds }: FloorJob): FloorRates {
  const items = Array.from({ length: itemCount }, () => ({
    nonce: randomBytes(12),
    aad: randomBytes(aadBytes),
    plaintext: randomBytes(plaintextBytes),
  }));
  const at = (item: number) => items[item] as (typeof items)[number];
  const output = Buffer.alloc(plaintextBytes + 16);
  const pkcs11 = rateOf(milliseconds, (item) => {
    const { nonce, aad, plaintext } = at(item);
    cryptoki.C_EncryptInit(session, gcmMechanism(nonce, aad), handle);
    cryptoki.C_Encrypt(session, plaintext, output);
  });
  const nodeCrypto = rateOf(milliseconds / 4, (item) => {
    const { nonce, aad, plaintext } = at(item);
    const cipher = createCipheriv('aes-256-gcm', keyObject, nonce).setAAD(aad);
    cipher.update(plaintext);
    cipher.final();
    cipher.getAuthTag();
  });
  return { pkcs11, nodeCrypto };
}

process.on('message', (job: FloorJob) => process.send?.(measure(job)));
process.once('disconnect', () => void token.close());
process.send?.('ready');
