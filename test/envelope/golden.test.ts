import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { idBytes } from '../../src/core/ids.ts';
import {
  type CipherAlgorithm as Algorithm,
  cipherAlgorithms as algorithms,
  cipherSuites as suites,
} from '../../src/crypto/suites.ts';
import { type CiphertextKind, type Context, parseCiphertext } from '../../src/envelope/format.ts';
import { createMessages } from '../../src/envelope/messages.ts';
import { type KnownKek, openTestToken, type TestToken } from '../support/token.ts';
import { committedCases, hex } from '../support/vectors.ts';
import { knownVersion, openBySpec } from './written-format.ts';

interface Golden {
  readonly comment: string;
  readonly suite: Algorithm;
  readonly kind: CiphertextKind;
  readonly key: string;
  readonly namespaceId: string;
  readonly keyId: string;
  readonly versionId: string;
  readonly messageId: string;
  readonly context: Context;
  readonly aad: string;
  readonly plaintext: string;
  /** Base64. */
  readonly ciphertext: string;
}

const golden = committedCases<Golden>('envelope/format-1');

let token: TestToken;
let kek: KnownKek;
beforeAll(async () => {
  token = await openTestToken();
  kek = token.importKek();
});
afterAll(() => token.close());

function parsed(ciphertext: Uint8Array) {
  const fields = parseCiphertext(ciphertext);
  if (!fields) throw new Error('not a ciphertext');
  return fields;
}

/** Guarantees that no golden ciphertext was removed: every suite, kind and four contexts are there. */
test('the golden ciphertexts cover every suite, kind and four contexts', () => {
  const kinds = golden.map(({ suite, kind, context }) => `${suite} ${kind} ${Object.keys(context).length}`);
  const expected = Object.keys(suites).flatMap((suite) =>
    ['message', 'data-key'].flatMap((kind) => [0, 1, 3, 6].map((pairs) => `${suite} ${kind} ${pairs}`)),
  );
  expect(kinds.toSorted()).toEqual(expected.toSorted());
});

/** Guarantees that ciphertexts of every format and suite stay readable for ever, by the code that serves requests. */
test.each(golden)('$comment', async (given) => {
  const ids = { id: given.versionId, keyId: given.keyId, namespaceId: given.namespaceId };
  const version = knownVersion(kek, given.suite, hex(given.key), ids);
  const fields = parsed(Buffer.from(given.ciphertext, 'base64'));
  expect(fields.suite.name).toBe(given.suite);
  expect(fields.kind).toBe(given.kind);
  expect(Buffer.from(fields.keyId)).toEqual(Buffer.from(idBytes(given.keyId)));
  expect(Buffer.from(fields.versionId)).toEqual(Buffer.from(idBytes(given.versionId)));
  expect(Buffer.from(fields.messageId).toString('hex')).toBe(given.messageId);
  const opened = await createMessages(token.hsm).open(version, fields, given.context);
  expect(Buffer.from(opened).toString('hex')).toBe(given.plaintext);
});

/** Guarantees that the written format is enough to read a ciphertext: header, authenticated bytes and commitment, byte for byte. */
test.each(golden)('$comment, from the written format', (given) => {
  const ciphertext = Buffer.from(given.ciphertext, 'base64');
  const opened = openBySpec(ciphertext, hex(given.key), given.namespaceId, given.context);
  expect(opened).toMatchObject({ magic: 0x53, format: 1, suite: given.suite, kind: given.kind });
  expect(opened.aad.toString('hex')).toBe(given.aad);
  expect(opened.commitment).toEqual(Buffer.alloc(32));
  expect(opened.plaintext.toString('hex')).toBe(given.plaintext);
});

/** Guarantees that what the service makes is what the written format says, for any plaintext and context. */
test('the service keeps to the written format', async () => {
  const messages = createMessages(token.hsm);
  const input = fc.record({
    suite: fc.constantFrom(...algorithms),
    kind: fc.constantFrom<CiphertextKind>('message', 'data-key'),
    plaintext: fc.uint8Array({ maxLength: 300 }),
    context: fc.dictionary(
      fc.string({ unit: 'grapheme', maxLength: 8 }),
      fc.string({ unit: 'grapheme', maxLength: 8 }),
    ),
  });
  const keys = new Map(algorithms.map((suite) => [suite, Buffer.alloc(suites[suite].keyBytes, 5)]));
  const versions = new Map([...keys].map(([suite, key]) => [suite, knownVersion(kek, suite, key)]));
  await fc.assert(
    fc.asyncProperty(input, async ({ suite, kind, plaintext, context }) => {
      const [version, key] = [versions.get(suite), keys.get(suite)];
      if (version === undefined || key === undefined) throw new Error('no such suite');
      const sealed = await messages.seal(version, { kind, plaintext, context });
      const opened = openBySpec(sealed, key, version.namespaceId, context);
      expect(opened).toMatchObject({ magic: 0x53, format: 1, suite, kind, commitment: Buffer.alloc(32) });
      expect(opened.keyId).toEqual(Buffer.from(idBytes(version.keyId)));
      expect(opened.versionId).toEqual(Buffer.from(idBytes(version.id)));
      expect(opened.plaintext).toEqual(Buffer.from(plaintext));
    }),
    { numRuns: 250 },
  );
});
