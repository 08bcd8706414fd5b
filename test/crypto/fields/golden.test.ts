import { createDecipheriv, createHmac } from 'node:crypto';
import { aessiv } from '@noble/ciphers/aes.js';
import { describe, expect, test } from 'vitest';
import { copyExact } from '../../../src/core/exact-json.ts';
import { decryptItems, encryptItems } from '../../../src/crypto/fields/documents.ts';
import type { Item } from '../../../src/crypto/fields/items.ts';
import { committedCases } from '../../support/vectors.ts';
import { golden } from './golden-document.ts';
import { compiled, everyCiphers, schemaId, testKeys } from './support.ts';

interface Sealed {
  readonly email: string;
  readonly address: { readonly city: string };
  readonly orders: readonly { readonly customer: string }[];
}

const cases = committedCases<{ record: string; sealed: Sealed }>('fields/format-1');
const namespaceId = '018f0000-0000-7000-8000-0000000000aa';

describe.each(everyCiphers)('by $name', ({ ciphers }) => {
  const tools = { ciphers, schema: compiled(golden.schema) };

  /** Guarantees that every document that was ever sealed opens, and that what is always sealed alike still is. */
  test('format 1', async () => {
    const keys = testKeys(ciphers);
    for (const { record, sealed } of cases) {
      const opened: Item = { document: copyExact(sealed), record };
      await keys.run(decryptItems(tools, () => true, [opened]));
      expect(opened.refused).toBeUndefined();
      expect(JSON.stringify(opened.document)).toBe(JSON.stringify(golden.document));
      const again: Item = { document: opened.document, record };
      await keys.run(encryptItems(tools, [again]));
      const randomized = { email: expect.any(String) as string, amount: expect.any(String) as string };
      expect(again.document).toEqual({ ...sealed, ...randomized });
    }
    expect(cases.length).toBeGreaterThan(0);
  });
});

/** Guarantees the format of sealed values as src/crypto/fields/README.md has it, written down a second time here. */
test('format 1 by the book', () => {
  const fields = (...parts: (string | Uint8Array)[]) =>
    Buffer.concat(
      parts.flatMap((part) => {
        const bytes = Buffer.from(part);
        const length = Buffer.alloc(4);
        length.writeUInt32BE(bytes.length);
        return [length, bytes];
      }),
    );
  const [{ sealed, record }] = cases as [(typeof cases)[number]];
  const bytesOf = (text: string) => Buffer.from(text.slice('sf1.'.length), 'base64url');
  const idOf = (bytes: Buffer) =>
    bytes
      .subarray(2, 18)
      .toString('hex')
      .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  const secret = createHmac('sha256', 'a secret of tests').update('people 1').digest();
  const derive = (label: string, context: Uint8Array, bytes: number) =>
    Buffer.concat(
      [1, 2].map((counter) =>
        createHmac('sha256', secret)
          .update(
            Buffer.concat([uint32(counter), Buffer.from(label), Buffer.alloc(1), context, uint32(bytes * 8)]),
          )
          .digest(),
      ),
    ).subarray(0, bytes);

  const email = bytesOf(sealed.email);
  expect([...email.subarray(0, 2)]).toEqual([1, 1]);
  const emailScope = fields('path', schemaId, '["email"]');
  const key = derive('stathera/field/randomized/v1', fields(namespaceId, idOf(email), emailScope), 32);
  const decipher = createDecipheriv('aes-256-gcm', key, email.subarray(18, 30));
  const header = (bytes: Buffer) => bytes.subarray(0, 18);
  const aad = fields('stathera/field/value/v1', namespaceId, emailScope, header(email));
  decipher.setAAD(Buffer.concat([aad, Buffer.of(1), Buffer.from(record)]));
  decipher.setAuthTag(email.subarray(-16));
  const plaintext = Buffer.concat([decipher.update(email.subarray(30, -16)), decipher.final()]);
  expect(plaintext).toEqual(Buffer.from('\u0001Ada@Example.org'));

  const customers = [Buffer.from('\u000242'), Buffer.from('\u000142')];
  sealed.orders.forEach(({ customer }, index) => {
    const bytes = bytesOf(customer);
    expect([...bytes.subarray(0, 2)]).toEqual([1, 2]);
    const scope = fields('group', 'customers');
    const sivKey = derive('stathera/field/deterministic/v1', fields(namespaceId, idOf(bytes), scope), 64);
    const place = fields('stathera/field/value/v1', namespaceId, scope, header(bytes));
    expect(Buffer.from(aessiv(sivKey, place).decrypt(bytes.subarray(18)))).toEqual(customers[index]);
  });
});

function uint32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(value);
  return out;
}
