import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { chainHead, encodeEntry, encodeRecord, parseLine } from '../../src/audit/format.ts';
import { concatBytes, lengthPrefixed, utf8 } from '../../src/core/bytes.ts';
import { entry, mac, place } from './support.ts';

/** Guarantees that the bytes hashed are those README.md tells, whatever their lengths. */
test('a step of the chain hashes its fields, length-prefixed', () => {
  const bytes = (maxLength: number) => fc.uint8Array({ maxLength, size: 'max' });
  fc.assert(
    fc.property(
      fc.constantFrom('w1', 'writer-2'),
      fc.maxSafeNat(),
      bytes(400),
      bytes(20_000),
      (writer, sequence, between, record) => {
        const head = randomBytes(32);
        const sequence8 = Buffer.alloc(8);
        sequence8.writeBigUInt64BE(BigInt(sequence));
        const input = lengthPrefixed('stathera/audit/chain/v1', writer, sequence8, head, between, record);
        const expected = createHash('sha256').update(input).digest();
        expect(chainHead({ writer, sequence, head, between, record })).toEqual(expected);
      },
    ),
  );
});

/** Guarantees that a file is what README.md says byte for byte: rebuilt here from the text alone. */
test('a segment, rebuilt by hand', async () => {
  const here = await place();
  const log = await here.open();
  const entries = [entry(), entry({ outcome: 'refused', code: 'key/not-found' }), entry({ count: 3 })];
  await Promise.all(entries.slice(0, 2).map((one) => log.append(one)));
  await log.append(entries[2] as (typeof entries)[0]);
  const found = readFileSync(join(here.audit, 'w1-00000001.ndjson'), 'utf8').split('\n');
  const zeros = '0'.repeat(64);
  const createdAt = Number(/"createdAt":(\d+)\}$/.exec(found[0] ?? '')?.[1]);
  const header =
    `{"format":1,"writer":"w1","number":1,"firstSequence":1,"previousHead":"${zeros}",` +
    `"previousMac":null,"previousBytes":0,"createdAt":${createdAt}}`;
  const sequence8 = (sequence: number) => Uint8Array.of(0, 0, 0, 0, 0, 0, 0, sequence);
  const sha256 = (...fields: (Uint8Array | string)[]) =>
    createHash('sha256')
      .update(lengthPrefixed(...fields))
      .digest();
  const chain = 'stathera/audit/chain/v1';
  const lines = entries.map((one, at) => JSON.stringify({ sequence: at + 1, ...one }));
  const [one = '', two = '', three = ''] = lines;
  const head1 = sha256(chain, 'w1', sequence8(1), new Uint8Array(32), header, one);
  const head2 = sha256(chain, 'w1', sequence8(2), head1, '', two);
  const commit = async (sequence: number, head: Buffer) => {
    const tag = await mac(lengthPrefixed('stathera/audit/group/v1', 'w1', sequence8(sequence), head));
    return `{"commit":{"sequence":${sequence},"head":"${head.toString('hex')}","mac":"${Buffer.from(tag).toString('hex')}"}}`;
  };
  const commit2 = await commit(2, head2);
  const head3 = sha256(chain, 'w1', sequence8(3), head2, commit2, three);
  expect(found).toEqual([header, one, two, commit2, three, await commit(3, head3), '']);
  expect(log.head()).toEqual({ writer: 'w1', sequence: 3, head: head3.toString('hex') });
});

/** Guarantees that each line has one spelling: every other is refused, whatever JSON makes of it. */
test('lines are read strictly', () => {
  const line = encodeRecord(7, encodeEntry(entry({ requestId: 'é\u0007"\\' })));
  expect(parseLine(line)).toMatchObject({ kind: 'record', record: { sequence: 7, requestId: 'é\u0007"\\' } });
  const text = line.toString();
  const others = [
    text.replace('"outcome":"allowed"', '"outcome":"refused","outcome":"allowed"'),
    text.replace('"sequence":7', '"sequence":7.0'),
    text.replace('"sequence":7', '"sequence":07'),
    text.replace('"sequence":7', '"sequence":70e-1'),
    text.replace('é', '\\u00e9'),
    text.replace('{"sequence":7,', '{"sequence":7,"__proto__":{},'),
    text.replace('}', ',"plaintext":"x"}'),
    `${text} `,
    ` ${text}`,
    `\ufeff${text}`,
    text.replace(/"sequence":7,(.*)\}$/, '$1,"sequence":7}'),
    'null',
    '[]',
    '{"sequence":7}',
    '',
  ];
  for (const other of others) {
    expect(other).not.toBe(text);
    expect(parseLine(utf8(other))).toBeUndefined();
  }
  expect(
    parseLine(concatBytes(line.subarray(0, 20), Uint8Array.of(0xff), line.subarray(21))),
  ).toBeUndefined();
});

/** Guarantees that an entry's members come out in one order, whatever order the caller gave them in. */
test('the order of members is the schema’s', () => {
  const one = entry();
  const reversed = Object.fromEntries(Object.entries(one).toReversed()) as unknown as typeof one;
  expect(encodeEntry(reversed)).toBe(encodeEntry(one));
});
