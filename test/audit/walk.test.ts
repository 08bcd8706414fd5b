import { expect, test } from 'vitest';
import {
  chainHead,
  encodeCommit,
  encodeEntry,
  encodeHeader,
  encodeRecord,
  noLine,
} from '../../src/audit/format.ts';
import { beginning, walkSegment } from '../../src/audit/walk.ts';
import { entry } from './support.ts';

const zeros = '0'.repeat(64);
const header = encodeHeader({
  ...{ format: 1, writer: 'w1', number: 1, firstSequence: 1, previousHead: zeros, previousMac: null },
  ...{ previousBytes: 0, createdAt: 1 },
});

/** Walks lines as they are. @returns what is wrong with the first bad one */
function problemOf(lines: readonly Buffer[], start = beginning, writer = 'w1'): string | undefined {
  const walk = walkSegment({ writer, number: 1, start });
  let offset = 0;
  for (const bytes of lines) {
    const problem = walk.step({ bytes, offset });
    if (problem !== undefined) return problem;
    offset += bytes.length + 1;
  }
  return undefined;
}

/** Records with these sequences under a chain that is right for them. */
function chained(...sequences: number[]): Buffer[] {
  let head: Buffer = beginning.head;
  let between: Buffer = header;
  const lines = sequences.map((sequence) => {
    const record = encodeRecord(sequence, encodeEntry(entry()));
    head = chainHead({ writer: 'w1', sequence, head, between, record });
    between = noLine;
    return record;
  });
  return [header, ...lines, encodeCommit(sequences.at(-1) ?? 0, head, null)];
}

/** Guarantees that each rule of a segment stands by itself, also where the chain was made to fit. */
test('what a segment may not hold', () => {
  const good = chained(1, 2, 3);
  const [, one = noLine, , , commit = noLine] = good;
  expect(problemOf(good)).toBeUndefined();
  expect(problemOf(chained(1, 3))).toBe('record 3 follows record 1');
  expect(problemOf(chained(2, 3))).toBe('record 2 follows record 0');
  expect(problemOf(chained(1, 1))).toBe('record 1 follows record 1');
  expect(problemOf([one])).toBe('no header');
  expect(problemOf([header, header])).toBe('a second header');
  expect(problemOf([header, commit])).toBe('a commit line without records');
  expect(problemOf([...good, commit])).toBe('a commit line without records');
  expect(problemOf([header, one, commit])).toBe('commits record 3 after record 1');
  expect(problemOf([header, one, encodeCommit(1, Buffer.alloc(32), null)])).toContain('the chain is broken');
  expect(problemOf([header, noLine])).toBe('not a line of the log');
  expect(problemOf(good, beginning, 'w2')).toBe('the header belongs to another segment');
  expect(problemOf(good, { ...beginning, sequence: 4 })).toBe('starts at record 1');
  expect(problemOf(good, { ...beginning, head: Buffer.alloc(32, 1) })).toBe(
    'the header does not continue the chain',
  );
  expect(problemOf(good, { ...beginning, mac: zeros })).toBe(
    'the header names another MAC of the last group',
  );
});
