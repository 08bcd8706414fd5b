// What: the ciphers of fields in process: FF1 of 16 digits and AES-SIV of 20 B, one value and 100 at a time, on node:crypto
// and in JavaScript alone; AES-256-GCM of 20 B with 100 B of associated data.
// Leaves out: documents, paths, keys and where they come from, HTTP.
// Floor: @noble/ciphers over the same values, one after the other.
// Run: node bench/fields/ciphers.bench.ts
import { aessiv, gcm } from '@noble/ciphers/aes.js';
import { FF1 } from '@noble/ciphers/ff1.js';
import type { FieldCiphers } from '../../src/crypto/fields/ciphers.ts';
import { createFf1 } from '../../src/crypto/fields/ff1.ts';
import { nodeCiphers } from '../../src/crypto/fields/node-ciphers.ts';
import { portableCiphers } from '../../src/crypto/fields/portable-ciphers.ts';
import { createSiv } from '../../src/crypto/fields/siv.ts';
import { bench } from '../support/bench.ts';
import type { RateRow } from '../support/report.ts';
import { medianRound, rounds } from '../support/rounds.ts';

const milliseconds = 200;
const key = new Uint8Array(32).fill(7);
const sivKey = new Uint8Array(64).fill(9);
const aad = new Uint8Array(100);
const digits = Array.from({ length: 16 }, (_, index) => (index * 7) % 10);
const text = new Uint8Array(20).fill(5);

function rateOf(work: () => unknown): number {
  let done = 0;
  const start = performance.now();
  let now = start;
  for (; now - start < milliseconds; now = performance.now())
    for (let turn = 0; turn < 5; turn += 1, done += 1) work();
  return (done * 1000) / (now - start);
}

const nobleFf1 = FF1(10, key);
const floors = {
  ff1: () => nobleFf1.encrypt(digits),
  siv: () => aessiv(sivKey, aad).encrypt(text),
  gcm: () => gcm(key, nodeCiphers.random(12), aad).encrypt(text),
};

function subjectsOf(name: string, ciphers: FieldCiphers) {
  const ff1 = createFf1(ciphers.blocks(key), { radix: 10 });
  const siv = createSiv(ciphers, sivKey).at([aad]);
  const aead = ciphers.gcm(key);
  const of = <Value>(value: Value, each: number) => new Array<Value>(each).fill(value);
  return [
    ...[1, 100].flatMap((each) => [
      {
        what: `FF1, ${each} at a time, ${name}`,
        ...{ each, work: () => ff1.encrypt(of(digits, each)), floor: floors.ff1, targetRatio: 3 },
      },
      {
        what: `AES-SIV, ${each} at a time, ${name}`,
        ...{ each, work: () => siv.seal(of(text, each)), floor: floors.siv },
      },
    ]),
    {
      what: `AES-GCM, ${name}`,
      ...{ each: 1, work: () => aead.seal(ciphers.random(12), text, aad), floor: floors.gcm },
    },
  ];
}

await bench('fields/ciphers', async ({ progress }) => {
  const rows: RateRow[] = [];
  for (const { what, each, work, floor, ...target } of [
    ...subjectsOf('node:crypto', nodeCiphers),
    ...subjectsOf('JavaScript', portableCiphers),
  ]) {
    progress(what);
    for (const warm of [work, floor]) rateOf(warm);
    const measured = await medianRound(async () => ({ floor: rateOf(floor), rate: rateOf(work) * each }));
    rows.push({ what, ...measured, ...target });
  }
  return { rows, setting: { rounds, milliseconds } };
});
