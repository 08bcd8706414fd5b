import { expect, test } from 'vitest';
import { check, type Violation } from './check.ts';
import type { History, Seen, What } from './history.ts';

let made = 0;

function saw(
  began: number,
  ended: number,
  what: What,
  outcome: Seen['outcome'] = 'accepted',
  code?: string,
): Seen {
  made += 1;
  return { requestId: `r${made}`, began, ended, outcome, code, what };
}

/** Everything at the end as it should be after what was seen, but for what a test plants. */
function judged(seen: readonly Seen[], planted: Partial<History> = {}): Violation['rule'][] {
  const history: History = {
    seen,
    opened: new Map(
      seen.flatMap(({ what }) =>
        what.kind === 'encrypt' && what.ciphertext !== undefined ? [[what.ciphertext, what.plaintext]] : [],
      ),
    ),
    versions: new Map([['k', [1, 2, 3]]]),
    records: new Map(
      seen.map(({ requestId, outcome }) => [requestId, [outcome === 'accepted' ? 'allowed' : 'refused']]),
    ),
    ...planted,
  };
  return check(history, 100).map(({ rule }) => rule);
}

const key = 'k';
const token = 't';
const seal = (version = 1): What => ({
  kind: 'encrypt',
  key,
  token,
  plaintext: 'p',
  ciphertext: 'c',
  version,
});
const open = (version = 1, plaintext = 'p'): What => ({
  ...{ kind: 'decrypt', key, token, expected: 'p' },
  version,
  plaintext,
});
const rotate = (attempt: string, version?: number): What => ({ kind: 'rotate', key, attempt, version });
const rotations = [saw(1, 2, rotate('a', 2)), saw(3, 4, rotate('b', 3))];

/** Guarantees that a history in which nothing is wrong passes, however its requests overlap. */
test('a good history', () => {
  expect(
    judged([
      ...rotations,
      saw(5, 6, seal(3)),
      saw(7, 8, open(3)),
      saw(10, 20, { kind: 'set-key', key, usable: false }),
      // Within the bound, and overlapping with the next change.
      saw(100, 105, open(3)),
      saw(150, 300, open(3)),
      saw(250, 260, { kind: 'set-key', key, usable: true }),
      saw(270, 280, { kind: 'revoke', token }),
      saw(370, 390, seal(3)),
      saw(500, 510, seal(3), 'refused', 'access/unauthenticated'),
    ]),
  ).toEqual([]);
});

/** Guarantees that a sealed message which does not open, or opens to something else, is found. */
test('a version that was lost', () => {
  const sealed = saw(1, 2, seal());
  expect(judged([...rotations, sealed], { opened: new Map() })).toEqual(['lost']);
  expect(judged([...rotations, sealed], { opened: new Map([['c', 'q']]) })).toEqual(['lost']);
  expect(judged([...rotations, saw(1, 2, open(1, 'q'))])).toEqual(['wrong-plaintext']);
  expect(judged(rotations, { versions: new Map([['k', [1, 2]]]) })).toEqual(['lost']);
});

/** Guarantees that a token which is accepted after its revocation was acknowledged, and the bound, is found. */
test('a token that lives on', () => {
  const revoked = saw(10, 20, { kind: 'revoke', token });
  expect(judged([...rotations, revoked, saw(121, 130, open())])).toEqual(['after-revocation']);
  expect(judged([...rotations, revoked, saw(120, 130, open())])).toEqual([]);
  const unanswered = saw(10, 20, { kind: 'revoke', token }, 'unknown');
  expect(judged([...rotations, unanswered, saw(121, 130, open())])).toEqual([]);
});

/** Guarantees that a key or version which is used after it was disabled, and the bound, is found; other versions not. */
test('a disabled key that is used', () => {
  const off = saw(10, 20, { kind: 'set-key', key, usable: false });
  expect(judged([...rotations, off, saw(121, 130, open())])).toEqual(['after-disable']);
  const old = saw(10, 20, { kind: 'set-version', key, version: 1, usable: false });
  expect(judged([...rotations, old, saw(121, 130, open(1))])).toEqual(['after-disable']);
  expect(judged([...rotations, old, saw(121, 130, open(2))])).toEqual([]);
  const doubtful = saw(110, 115, { kind: 'set-key', key, usable: true }, 'unknown');
  expect(judged([...rotations, off, doubtful, saw(121, 130, open())])).toEqual([]);
});

/** Guarantees that a message sealed with an older version after a rotation was acknowledged, and the bound, is found. */
test('a version that is used too long', () => {
  expect(judged([...rotations, saw(105, 110, seal(2))])).toEqual(['old-version']);
  expect(judged([...rotations, saw(104, 110, seal(2))])).toEqual([]);
});

/** Guarantees that an answer without its record, with two, or with one that says otherwise, is found. */
test('records that are not there', () => {
  const used = saw(50, 60, open());
  const others = (records: string[]) =>
    judged([used], { records: new Map([[used.requestId, records]]), versions: new Map() });
  expect(others([])).toEqual(['unrecorded']);
  expect(others(['allowed', 'allowed'])).toEqual(['recorded-twice']);
  expect(others(['refused'])).toEqual(['recorded-otherwise']);
  const refused = saw(50, 60, open(), 'refused', 'key/disabled');
  expect(judged([refused], { records: new Map([[refused.requestId, ['allowed']]]) })).toEqual([
    'recorded-otherwise',
  ]);
  const doubtful = saw(50, 60, rotate('a'), 'refused', 'audit/unavailable');
  const made = { records: new Map([[doubtful.requestId, ['allowed']]]), versions: new Map() };
  expect(judged([doubtful], made)).toEqual([]);
  const silent = saw(50, 60, open(), 'unknown');
  expect(judged([silent], { records: new Map([[silent.requestId, ['allowed']]]) })).toEqual([]);
  expect(judged([silent], { records: new Map() })).toEqual([]);
});

/** Guarantees that a rotation which took effect twice, or shares its version with another, is found. */
test('a rotation that ran twice', () => {
  const again = [saw(1, 2, rotate('a'), 'unknown'), saw(3, 4, rotate('a', 3))];
  expect(judged(again, { versions: new Map([['k', [1, 2, 3]]]) })).toEqual(['ran-twice']);
  expect(judged([saw(1, 2, rotate('a', 2)), saw(3, 4, rotate('a', 3)), saw(5, 6, rotate('b', 3))])).toEqual([
    ...['ran-twice', 'ran-twice'],
  ]);
  expect(judged([saw(1, 2, rotate('a', 2)), saw(3, 4, rotate('b', 2)), saw(5, 6, rotate('c', 3))])).toEqual([
    'ran-twice',
  ]);
  const refused = saw(1, 2, rotate('c'), 'refused', 'key/conflict');
  expect(judged([saw(1, 2, rotate('a', 2)), refused])).toEqual(['ran-twice']);
  const doubtful = saw(1, 2, rotate('c'), 'refused', 'store/unavailable');
  expect(judged([saw(1, 2, rotate('a', 2)), doubtful])).toEqual([]);
});
