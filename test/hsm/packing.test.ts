import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  batchOverheadBytes,
  type ItemStatus,
  type Operation,
  type OperationKind,
  operationBytes,
  outputBytes,
  packBatch,
  readBatch,
  readResults,
} from '../../src/hsm/pkcs11/packing.ts';

const bytes = (length: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: length, maxLength: length });
const handle = bytes(8);
const generation = fc.nat(2 ** 32 - 1);

function operation(kind: OperationKind): fc.Arbitrary<Operation> {
  const gcm = !kind.startsWith('hmac-') && kind !== 'cmac' && kind !== 'random';
  return fc
    .record({
      aadBytes: fc.nat(gcm ? 40 : 0),
      dataBytes: fc.nat(300),
      secondAadBytes: fc.nat(kind === 'reencrypt' ? 40 : 0),
    })
    .chain((sizes) => {
      const nonces = gcm ? (kind === 'reencrypt' ? 24 : 12) : 0;
      const inputs = kind === 'random' ? 0 : sizes.dataBytes;
      const payload = bytes(nonces + sizes.aadBytes + inputs + sizes.secondAadBytes);
      return fc
        .record({ kind: fc.constant(kind), generation, handle, secondHandle: handle, payload })
        .map((rest) => ({
          ...sizes,
          ...rest,
        }));
    });
}

const operations = fc.array(
  fc
    .constantFrom<OperationKind>(
      ...(['encrypt', 'decrypt', 'reencrypt', 'hmac-256', 'hmac-384', 'hmac-512', 'cmac', 'random'] as const),
    )
    .chain(operation),
  { minLength: 1, maxLength: 64 },
);

function bufferFor(batch: readonly Operation[]): ArrayBuffer {
  return new ArrayBuffer(batch.reduce((sum, one) => sum + operationBytes(one), batchOverheadBytes));
}

/** Guarantees that the worker sees every operation exactly as it was packed. */
test('what is packed is what is read', () => {
  fc.assert(
    fc.property(operations, (batch) => {
      const buffer = bufferFor(batch);
      expect(packBatch(batch, buffer)).toBe(buffer.byteLength);
      const items = [...readBatch(buffer)];
      expect(items).toHaveLength(batch.length);
      items.forEach((item, index) => {
        const packed = batch[index];
        if (packed === undefined) throw new Error('too many items');
        expect([item.kind, item.generation]).toEqual([packed.kind, packed.generation]);
        expect([...item.handle, ...item.secondHandle]).toEqual([...packed.handle, ...packed.secondHandle]);
        const inputs = [item.nonce, item.aad, item.data, item.secondNonce, item.secondAad];
        expect(Buffer.concat(inputs).equals(packed.payload)).toBe(true);
        expect([item.aad.length, item.secondAad.length]).toEqual([packed.aadBytes, packed.secondAadBytes]);
        expect(item.output).toHaveLength(outputBytes(packed.kind, packed.dataBytes));
      });
    }),
  );
});

/** Guarantees that every outcome reaches its own operation, with its own bytes and no others. */
test('results reach their operations', () => {
  fc.assert(
    fc.property(
      operations,
      fc.infiniteStream(fc.constantFrom<ItemStatus>('ok', 'rejected', 'stale', 'device')),
      (batch, statuses) => {
        const buffer = bufferFor(batch);
        packBatch(batch, buffer);
        const expected = [...readBatch(buffer)].map((item, index) => {
          const status = statuses.next().value;
          item.output.fill(index + 1);
          item.settle(status, status === 'ok' ? item.output.length : index);
          return { status, output: status === 'ok' ? Uint8Array.from(item.output) : new Uint8Array(0) };
        });
        expect(readResults(batch, buffer).map(({ status, output }) => ({ status, output }))).toEqual(
          expected,
        );
      },
    ),
  );
});

/** Guarantees that a batch nobody worked on holds failures, not empty answers. */
test('an untouched batch is a failure', () => {
  fc.assert(
    fc.property(operations, (batch) => {
      const buffer = bufferFor(batch);
      packBatch(batch, buffer);
      expect(new Set(readResults(batch, buffer).map((result) => result.status))).toEqual(new Set(['device']));
    }),
  );
});

/** Guarantees that an output longer than its room is not believed. */
test('a length beyond the room is a failure', () => {
  const batch = fc.sample(operation('encrypt'), 1);
  const buffer = bufferFor(batch);
  packBatch(batch, buffer);
  for (const item of readBatch(buffer)) item.settle('ok', item.output.length + 1);
  expect(readResults(batch, buffer)[0]?.status).toBe('device');
});

/** Guarantees that operations which do not fit are refused instead of written past their room. */
test('a batch that does not fit is refused', () => {
  const batch = fc.sample(operation('encrypt'), 3);
  expect(() => packBatch(batch, new ArrayBuffer(bufferFor(batch).byteLength - 1))).toThrow(RangeError);
  expect(() => packBatch(batch, new ArrayBuffer(8))).toThrow(RangeError);
});
