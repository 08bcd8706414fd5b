import pkcs11js from 'pkcs11js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  type Cryptoki,
  type Handle,
  loadModule,
  readOnlySession,
  slotsWithLabel,
} from '../../src/hsm/pkcs11/cryptoki.ts';
import { openFastSession } from '../../src/hsm/pkcs11/fast-session.ts';
import { gcmCases } from '../../src/hsm/pkcs11/known-answers.ts';
import { knownKeyTemplate } from '../../src/hsm/pkcs11/objects.ts';
import {
  batchOverheadBytes,
  type ItemResult,
  noHandle,
  type Operation,
  operationBytes,
  packBatch,
  readResults,
} from '../../src/hsm/pkcs11/packing.ts';
import { openTestToken, type TestToken } from '../support/token.ts';

const generation = 7;
const published = gcmCases[1];
let token: TestToken;
let cryptoki: Cryptoki;
let slot: Handle;
let key: Handle;
beforeAll(async () => {
  token = await openTestToken();
  cryptoki = loadModule(token.settings.module);
  const [found] = slotsWithLabel(cryptoki, token.settings.tokenLabel);
  if (found === undefined) throw new Error('no slot');
  slot = found;
  const session = cryptoki.C_OpenSession(slot, readOnlySession);
  key = cryptoki.C_CreateObject(session, knownKeyTemplate('aes', published.key, ['encrypt', 'decrypt']));
});
afterAll(() => token.close());

type Call = 'C_Encrypt' | 'C_Decrypt' | 'C_EncryptInit' | 'C_Sign';

/** The module, with one of its calls answered by `instead` while it returns true for "broken". */
function faulty(
  call: Call,
  broken: () => boolean,
  instead: (...args: Parameters<Cryptoki['C_Encrypt']>) => Buffer,
): Cryptoki {
  return new Proxy(cryptoki, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      if (name === call && broken()) return instead;
      return value.bind(target) as unknown;
    },
  });
}

function operation(kind: 'encrypt' | 'decrypt', change: Partial<Operation> = {}): Operation {
  const data = kind === 'encrypt' ? published.plaintext : published.sealed;
  return {
    kind,
    generation,
    handle: key,
    secondHandle: noHandle,
    aadBytes: published.aad.length,
    dataBytes: data.length,
    secondAadBytes: 0,
    payload: Buffer.concat([published.nonce, published.aad, data]),
    ...change,
  };
}

function run(
  module: Cryptoki,
  operations: readonly Operation[],
  arm: () => void = () => undefined,
): ItemResult[] {
  const session = openFastSession(module, slot, { generation, revoked: () => false });
  const buffer = new ArrayBuffer(
    operations.reduce((sum, one) => sum + operationBytes(one), batchOverheadBytes),
  );
  packBatch(operations, buffer);
  arm();
  try {
    session.run(buffer);
    return readResults(operations, buffer);
  } finally {
    session.close();
  }
}

/** Guarantees that an item of another generation is refused untried, whatever its handle means by now. */
test('another generation is stale', () => {
  const operations = [
    operation('encrypt'),
    operation('encrypt', { generation: 6 }),
    operation('decrypt', { generation: 8 }),
  ];
  expect(run(cryptoki, operations).map((result) => result.status)).toEqual(['ok', 'stale', 'stale']);
});

/** Guarantees that a handle the token does not know is stale, not a broken device or a bad ciphertext. */
test('an unknown handle is stale', () => {
  const handle = Buffer.alloc(8, 0x7f);
  const results = run(cryptoki, [
    operation('decrypt', { handle }),
    operation('encrypt', { handle }),
    operation('decrypt'),
  ]);
  expect(results.map((result) => result.status)).toEqual(['stale', 'stale', 'ok']);
  expect(Buffer.from(results[2]?.output ?? [])).toEqual(published.plaintext);
});

/** Guarantees that an operation left active costs its session, not the item, and not the items after it. */
test('an operation left active is got rid of', () => {
  let broken = false;
  const module = faulty(
    'C_Encrypt',
    () => broken,
    (session, data) => {
      broken = false;
      // A real CKR_BUFFER_TOO_SMALL, which leaves the real operation active.
      return cryptoki.C_Encrypt(session, data, Buffer.alloc(1));
    },
  );
  const results = run(module, [operation('encrypt'), operation('encrypt'), operation('decrypt')], () => {
    broken = true;
  });
  expect(broken).toBe(false);
  expect(results.map((result) => result.status)).toEqual(['ok', 'ok', 'ok']);
  expect(Buffer.from(results[0]?.output ?? [])).toEqual(published.sealed);
});

/** Guarantees that CKR_GENERAL_ERROR of a device whose known answer fails as well is the device's fault. */
test('a failing probe is a failing device', () => {
  let broken = false;
  const module = faulty(
    'C_Decrypt',
    () => broken,
    () => {
      throw new Error('CKR_GENERAL_ERROR:5');
    },
  );
  const results = run(module, [operation('decrypt')], () => {
    broken = true;
  });
  expect(results).toEqual([{ status: 'device', output: new Uint8Array(0), returnValue: 5 }]);
});

/** Guarantees that a device that says it is gone is believed without a probe. */
test('a device error is a device error', () => {
  let broken = false;
  const module = faulty(
    'C_Encrypt',
    () => broken,
    () => {
      broken = false;
      throw new Error('CKR_DEVICE_REMOVED:50');
    },
  );
  const results = run(module, [operation('encrypt')], () => {
    broken = true;
  });
  expect(results[0]).toMatchObject({ status: 'device', returnValue: pkcs11js.CKR_DEVICE_REMOVED });
});

/** Guarantees that a device giving wrong answers is not opened at all. */
test('a wrong known answer opens nothing', () => {
  const module = faulty(
    'C_Encrypt',
    () => true,
    (session, data, output) => {
      const sealed = cryptoki.C_Encrypt(session, data, output);
      sealed[0] = (sealed[0] ?? 0) ^ 1;
      return sealed;
    },
  );
  expect(() => openFastSession(module, slot, { generation, revoked: () => false })).toThrow(
    'known-answer test failed: aes-256-gcm',
  );
});
