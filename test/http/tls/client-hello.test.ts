import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createHelloReader, type HelloSoFar } from '../../../src/http/tls/client-hello.ts';
import { helloOf, ids, recordsOf } from './support.ts';

/** What the reader says of bytes that come in pieces of these sizes, and how many of them it took. */
function readIn(bytes: Buffer, sizes: readonly number[]): { said: HelloSoFar; taken: number } {
  const reader = createHelloReader();
  let said: HelloSoFar = 'incomplete';
  let at = 0;
  for (let turn = 0; said === 'incomplete' && at < bytes.length; turn += 1) {
    const size = sizes[turn % sizes.length] ?? 1;
    said = reader.push(bytes.subarray(at, at + size));
    at = Math.min(bytes.length, at + size);
  }
  expect(reader.bytes().equals(bytes.subarray(0, at))).toBe(true);
  return { said, taken: at };
}

const groups = ['grease', 'X25519MLKEM768', 'X25519', 'P-256'] as const;
const hello = helloOf(groups, ['X25519MLKEM768', 'X25519']);
const offered = {
  groups: groups.map((name) => ids[name]),
  shares: [ids.X25519MLKEM768, ids.X25519],
};
const sizes = fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 20 });

/** Guarantees that a hello is read the same, and given back whole, in whatever records and segments it comes. */
test('gathers fragments', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2000 }), sizes, (recordBytes, pieces) => {
      expect(readIn(recordsOf(hello, recordBytes), pieces).said).toEqual(offered);
    }),
  );
  expect(readIn(recordsOf(hello), [1]).said).toEqual(offered);
  const followed = Buffer.concat([recordsOf(hello), Buffer.from('what comes next')]);
  expect(readIn(followed, [followed.length]).said).toEqual(offered);
});

/** Guarantees that a hello is never taken for complete before it is. */
test('waits for the last byte', () => {
  const bytes = recordsOf(hello, 500);
  for (let length = 0; length < bytes.length; length += 1) {
    expect(readIn(bytes.subarray(0, length), [length || 1]).said, String(length)).toBe('incomplete');
  }
});

/** Guarantees that a hello without groups or keys offers none: TLS 1.2 has no key shares. */
test('reads what offers nothing', () => {
  const extensionsAt = 4 + 2 + 32 + 1 + 4 + 2;
  const bare = Buffer.concat([hello.subarray(0, extensionsAt), Buffer.from([0, 0])]);
  bare.writeUIntBE(bare.length - 4, 1, 3);
  expect(readIn(recordsOf(bare), [4096]).said).toEqual({ groups: [], shares: [] });
  expect(readIn(recordsOf(helloOf(['X25519'], [])), [4096]).said).toEqual({
    groups: [ids.X25519],
    shares: [],
  });
});

/** Guarantees that each length that lies is found out, however it lies. */
test('refuses lengths that lie', () => {
  // Every two-byte field of the message that is a length, by the place of its first byte.
  const body = hello.subarray(4);
  expect(readIn(recordsOf(hello), [8192]).said).toEqual(offered);
  let unreadable = 0;
  for (let at = 2 + 32; at < body.length - 1; at += 1) {
    const lying = Buffer.from(hello);
    lying.writeUInt16BE(0xffff, 4 + at);
    const { said } = readIn(recordsOf(lying), [8192]);
    if (said === 'unreadable') unreadable += 1;
    else expect(said).toHaveProperty('groups');
  }
  expect(unreadable).toBeGreaterThan(20);
  // One too many, which is still within the message: of the groups, of the keys, of the first key.
  const [groupsAt, sharesAt] = [[10, 0, 10, 0, 8], [51]].map((start) =>
    hello.indexOf(Buffer.from([0, ...start])),
  );
  for (const at of [(groupsAt ?? 0) + 4, (sharesAt ?? 0) + 4, (sharesAt ?? 0) + 8]) {
    const lying = Buffer.from(hello);
    lying.writeUInt16BE(lying.readUInt16BE(at) + 1, at);
    expect(readIn(recordsOf(lying), [8192]).said, String(at)).toBe('unreadable');
  }
});

/** Guarantees that what is no hello is known by its first bytes, and one that is too long by its length alone. */
test('gives up early', () => {
  const cases: readonly (readonly [string, Buffer, number])[] = [
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n'), 1],
    ['another record', Buffer.from([23, 3, 3, 0, 1, 0]), 1],
    ['an empty record', Buffer.from([22, 3, 1, 0, 0, 22]), 5],
    ['another message', recordsOf(Buffer.from([2, 0, 0, 1, 0])), 10],
    ['a record of 64 KiB', Buffer.concat([Buffer.from([22, 3, 1, 255, 255]), Buffer.alloc(70_000)]), 5],
    ['a message of 16 MiB', Buffer.concat([recordsOf(Buffer.from([1, 255, 255, 255])), Buffer.alloc(99)]), 9],
    ['a message a little too long', recordsOf(Buffer.from([1, 0, 64, 0, 0, 0])), 11],
    [
      'no end of records',
      Buffer.concat(Array.from({ length: 5000 }, () => recordsOf(Buffer.from([1, 0])))),
      16_400,
    ],
  ];
  for (const [name, bytes, most] of cases) {
    const { said, taken } = readIn(bytes, [1]);
    expect(said, name).toBe('unreadable');
    expect(taken, name).toBeLessThanOrEqual(most);
  }
});

/** Guarantees that no bytes make it throw, and none make it wait for more than 16 KiB. */
test('bears anything', () => {
  const anything = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.tuple(fc.nat(hello.length - 1), fc.nat(255)).map(([at, value]) => {
      const changed = Buffer.from(hello);
      changed[at] = value;
      return recordsOf(changed);
    }),
    fc
      .uint8Array({ minLength: 1, maxLength: 2000 })
      .map((message) => recordsOf(Uint8Array.of(1, 0, ...message), 100)),
  );
  fc.assert(
    fc.property(anything, sizes, (bytes, pieces) => {
      const { said } = readIn(Buffer.from(bytes), pieces);
      expect(typeof said === 'string' ? ['incomplete', 'unreadable'] : [said]).toContain(said);
    }),
  );
  const endless = Buffer.concat([recordsOf(Buffer.from([1, 0, 62, 0])), Buffer.alloc(40_000, 22)]);
  expect(readIn(endless, [1]).taken).toBeLessThanOrEqual(16 * 1024);
});
