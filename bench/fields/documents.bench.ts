// What: fields of documents in process, 1,000 documents of 10 fields: 6 randomized, 4 deterministic, a blind index; sealed,
// and opened. Then what finding the fields costs of it.
// Leaves out: keys and where they come from, JSON texts, copies of the caller's documents, HTTP, format-preserving values.
// Floor: the fastest bare loop over the same values in a row, with the same keys ready: node:crypto's AES-256-GCM and HMAC,
// AES-SIV of a whole field's values together, base64url.
// Run: node bench/fields/documents.bench.ts
import { compileSchema } from '../../src/crypto/fields/compile.ts';
import { decryptItems, encryptItems } from '../../src/crypto/fields/documents.ts';
import { type Item, slotsOf } from '../../src/crypto/fields/items.ts';
import { nodeCiphers as ciphers } from '../../src/crypto/fields/node-ciphers.ts';
import { createSiv } from '../../src/crypto/fields/siv.ts';
import { bench } from '../support/bench.ts';
import type { RateRow } from '../support/report.ts';
import { medianRound, rounds } from '../support/rounds.ts';
import { benchDefinition, benchKeyring, documentsOf, randomizedFields, textsOf } from './people.ts';

const documents = 1_000;
const values = documents * 10;
const milliseconds = 300;
const schema = compileSchema('018f0000-0000-7000-8000-0000000000bb', benchDefinition);

const people = Array.from({ length: documents }, (_, row) => textsOf(row));
const fresh = (): Item[] => documentsOf(documents).map((document) => ({ document }));

const keyring = benchKeyring();
const tools = { ciphers, schema };

function sealedItems(): Item[] {
  const items = fresh();
  encryptItems(tools, items).run(keyring);
  return items;
}

/** CPU time of this process: nothing here waits for anything, and what else runs on the machine is not of it. */
function cpuMilliseconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** Values a second of CPU time; `prepare` is not counted. */
function rateOf<Input>(prepare: () => Input, work: (input: Input) => unknown): number {
  let spent = 0;
  let done = 0;
  while (spent < milliseconds) {
    const input = prepare();
    const start = cpuMilliseconds();
    work(input);
    spent += cpuMilliseconds() - start;
    done += values;
  }
  return (done * 1000) / spent;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const aead = ciphers.gcm(new Uint8Array(32).fill(1));
const siv = createSiv(ciphers, new Uint8Array(64).fill(2)).at([new Uint8Array(120)]);
const hmac = ciphers.hmac(new Uint8Array(32).fill(3));
const aad = new Uint8Array(120);
const header = new Uint8Array(18);

function bareSeal(): string[][] {
  const out: string[][] = people.map(() => []);
  for (let field = 0; field < 10; field += 1) {
    const plaintexts = people.map((texts) => encoder.encode(texts[field]));
    const sealed =
      field < randomizedFields
        ? plaintexts.map((plaintext) => {
            const nonce = ciphers.random(12);
            return Buffer.concat([header, nonce, ...aead.seal(nonce, plaintext, aad)]);
          })
        : siv.seal(plaintexts).map((bytes) => Buffer.concat([header, bytes]));
    sealed.forEach((bytes, row) => out[row]?.push(ciphers.toText(bytes)));
    if (field === 0) for (const plaintext of plaintexts) ciphers.toText(hmac(plaintext).subarray(0, 4));
  }
  return out;
}

function bareOpen(sealed: readonly string[][]): string[][] {
  const out: string[][] = people.map(() => []);
  for (let field = 0; field < 10; field += 1) {
    const bytes = sealed.map((row) => ciphers.fromText(row[field] ?? '') ?? header);
    const opened =
      field < randomizedFields
        ? bytes.map((one) => aead.open(one.subarray(18, 30), one.subarray(30), aad))
        : siv.open(bytes.map((one) => one.subarray(18)));
    opened.forEach((plaintext, row) => out[row]?.push(decoder.decode(plaintext)));
  }
  return out;
}

function find(items: readonly Item[]): void {
  for (const field of schema.fields) slotsOf(field, items);
}

const nothing = () => undefined;
const sealedTexts = bareSeal();

await bench('fields/documents', async ({ progress }) => {
  const rows: RateRow[] = [];
  for (const { what, rate, floor } of [
    {
      what: 'sealed',
      rate: () => rateOf(fresh, (items) => encryptItems(tools, items).run(keyring)),
      floor: () => rateOf(nothing, bareSeal),
    },
    {
      what: 'opened',
      rate: () => rateOf(sealedItems, (items) => decryptItems(tools, () => true, items).run(keyring)),
      floor: () => rateOf(nothing, () => bareOpen(sealedTexts)),
    },
  ]) {
    progress(what);
    for (const warm of [rate, floor]) warm();
    rows.push({
      what,
      ...(await medianRound(async () => ({ rate: rate(), floor: floor() }))),
      targetRatio: 0.7,
    });
  }
  const sealing = rateOf(fresh, (items) => encryptItems(tools, items).run(keyring));
  const finding = rateOf(fresh, find);
  return {
    rows,
    setting: { rounds, documents, fieldsFoundShare: sealing / finding, fieldsFoundShareAtMost: 0.2 },
  };
});
