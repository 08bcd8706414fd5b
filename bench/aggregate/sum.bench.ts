// What: ciphertexts added up, 4,096 values in each, one core: 1,000,000 values that lie in memory, with squares beside
// them for a variance, and taken apart into 4,096 groups; the same out of SQLite, as a query reads and adds them, each
// held to its SHA-256, but in one process; streams of 1, 10 and 100 million values, how much CPU time for each million
// and how far memory rises.
// Leaves out: decryption, noise, HMACs of the contributions' rows, PostgreSQL, what else the service does.
// Floors: the same bytes read once by 128 bits; SEAL's own additions (node-seal); out of SQLite, the same rows read by
// the same query and left.
// Run: node bench/aggregate/sum.bench.ts [--directory DIR]
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { sql } from 'kysely';
import type { Ciphertext, MainModule, SEALContext } from 'node-seal';
import { residuesOf } from '../../src/aggregate/queries/rows-stream.ts';
import { newId } from '../../src/core/ids.ts';
import { createResidueAdder, type ResidueAdder } from '../../src/crypto/homomorphic/kernel.ts';
import { kernelBytes } from '../../src/crypto/homomorphic/kernel-bytes.ts';
import { layoutOf } from '../../src/crypto/homomorphic/layout.ts';
import { unpack } from '../../src/crypto/homomorphic/packing.ts';
import { parameterSets, residueBytes } from '../../src/crypto/homomorphic/parameters.ts';
import { migrate } from '../../src/store/migrations.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import { type Bench, bench } from '../support/bench.ts';
import type { Figure, RateRow } from '../support/report.ts';
import { medianRound, rounds } from '../support/rounds.ts';

const set = parameterSets['bgv-4096-101'];
const bytes = residueBytes(set);
/** Ciphertexts that hold a million values. */
const million = Math.ceil(1_000_000 / set.degree);
const turns = 20;
/** Of a stream, 2 MiB. */
const pageCiphertexts = 16;

/** Times a second that the work is done, by the quickest of some turns. */
function rateOf(work: () => unknown): number {
  let best = Number.POSITIVE_INFINITY;
  for (let turn = 0; turn < turns; turn += 1) {
    const started = performance.now();
    work();
    best = Math.min(best, performance.now() - started);
  }
  return 1_000 / best;
}

// Its types come with those of browsers, which nothing else here has.
interface WebAssemblyApi {
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object) => { readonly exports: unknown };
}

/** Reads so many bytes of its memory, by the kernel's own look for words that are not zero. */
function createReading(length: number): () => void {
  const { Module, Instance } = (globalThis as unknown as { WebAssembly: WebAssemblyApi }).WebAssembly;
  const kernel = new Instance(new Module(Buffer.from(kernelBytes, 'base64')));
  const { memory, zero } = kernel.exports as {
    memory: { readonly buffer: ArrayBuffer; grow(pages: number): number };
    zero(at: number, length: number): number;
  };
  memory.grow(Math.ceil(length / 65_536));
  // What was never written is one page of zeros, read from the nearest cache.
  new Uint8Array(memory.buffer).fill(1);
  return () => void zero(0, length);
}

function fill(adder: ResidueAdder): void {
  const words = new BigUint64Array(adder.staging.buffer, adder.staging.byteOffset, adder.staging.length / 8);
  const { moduli, degree } = set;
  for (let at = 0; at < words.length; at += 1) {
    words[at] = (BigInt(at) * 0x9e3779b97f4a7c15n) % moduli[Math.floor(at / degree) % 2]!;
  }
}

/** What SEAL takes for as many additions, of ciphertexts that it has loaded. */
async function sealAdding(): Promise<() => void> {
  const { default: load } = await import('node-seal');
  const seal: MainModule = await load();
  const parameters = new seal.EncryptionParameters(seal.SchemeType.bgv);
  parameters.setPolyModulusDegree(set.degree);
  parameters.setCoeffModulus(seal.CoeffModulus.Create(set.degree, Int32Array.from(set.modulusBits)));
  parameters.setPlainModulus(seal.PlainModulus.Batching(set.degree, 60));
  const context: SEALContext = new seal.SEALContext(parameters, true, seal.SecLevelType.tc128);
  const keys = new seal.KeyGenerator(context);
  const encryptor = new seal.Encryptor(context, keys.createPublicKey());
  const evaluator = new seal.Evaluator(context);
  const ciphertexts = Array.from({ length: million }, (): Ciphertext => {
    const one = new seal.Ciphertext();
    encryptor.encryptZero(one);
    return one;
  });
  const total = new seal.Ciphertext();
  encryptor.encryptZero(total);
  return () => {
    for (const one of ciphertexts) evaluator.addInplace(total, one);
  };
}

async function inMemory(): Promise<{ rows: RateRow[]; figures: Figure[] }> {
  const adder = createResidueAdder(set, million);
  fill(adder);
  const sum = () => adder.addStaged(million);
  const read = createReading(million * bytes);
  const seal = await sealAdding();
  const twice = createResidueAdder(set, 2 * million);
  fill(twice);
  const labels = Array.from({ length: set.degree }, (_, at) => `${at}`);
  const shape = {
    ...{ columns: [{ name: 'value', lower: 0, upper: 1_000 }], groups: [{ name: 'group', labels }] },
    ...{ squares: false, rowsPerContribution: 1, contributions: million },
  };
  const layout = layoutOf(shape, set);
  const slots = new Map([[0, new BigInt64Array(set.degree).fill(7n)]]);
  const [count] = layout.fields;
  if (!count) throw new Error('no field');
  const apart = () => labels.map((_, cell) => unpack(layout, count, cell, slots));
  const paired = (ours: () => unknown, floor: () => unknown) =>
    medianRound(async () => ({ rate: rateOf(ours), floor: rateOf(floor) }));
  const toFloor = await paired(sum, read);
  const toSeal = await paired(sum, seal);
  const variance = await paired(() => twice.addStaged(2 * million), sum);
  const grouped = await paired(() => [sum(), apart()], sum);
  return {
    rows: [
      { what: 'sums of 1,000,000 values, to reading', ...toFloor, targetRatio: 1 / 1.3 },
      { what: 'sums of 1,000,000 values, to SEAL’s', ...toSeal, targetRatio: 3 },
    ],
    figures: [
      { what: 'variance, to the sum', value: 1 / variance.ratio, unit: 'times', targetBelow: 2.2 },
      {
        what: '4,096 groups of equal bytes, to the sum',
        value: 1 / grouped.ratio,
        unit: 'times',
        targetBelow: 1.5,
      },
    ],
  };
}

async function fromSqlite(bench: Bench): Promise<RateRow> {
  const store = openSqliteStore({ file: join(bench.directory(), 'bench.db') });
  await migrate(store.db, store.dialect, 1);
  await sql`pragma foreign_keys = off`.execute(store.db);
  bench.progress(`writing ${million} ciphertexts`);
  const epochId = newId();
  const residues = Buffer.alloc(bytes);
  const contributions: { id: string; digest: Buffer }[] = [];
  for (let at = 0; at < million; at += 1) {
    residues.writeUInt32LE(at, 8);
    const digest = createHash('sha256').update(residues).digest();
    const id = newId();
    contributions.push({ id, digest });
    await store.db
      .insertInto('contribution_ciphertexts')
      .values({ epoch_id: epochId, place: 0, contribution_id: id, namespace_id: epochId, digest, residues })
      .execute();
  }
  const adder = createResidueAdder(set);
  const timed = async (work: () => Promise<unknown>): Promise<number> => {
    const started = performance.now();
    await work();
    return 1_000 / (performance.now() - started);
  };
  const rows = () => residuesOf(store, { id: epochId }, 0, contributions);
  const sum = async () => {
    adder.reset();
    let at = 0;
    for await (const one of rows()) {
      const digest = createHash('sha256').update(one).digest();
      if (!digest.equals(contributions[at]?.digest ?? Buffer.alloc(0))) throw new Error('another ciphertext');
      adder.staging.set(one);
      adder.addStaged(1);
      at += 1;
    }
    return adder.total();
  };
  const read = async () => {
    for await (const _ of rows());
  };
  await read();
  const found = await medianRound(async () => ({ floor: await timed(read), rate: await timed(sum) }));
  await store.close();
  return { what: 'sums of 1,000,000 values out of SQLite', ...found, targetRatio: 0.5 };
}

/** Streams of more and more values through one page: linear time, and no memory. */
function streamed(): Figure[] {
  const adder = createResidueAdder(set, pageCiphertexts);
  fill(adder);
  const page = adder.staging.slice();
  const rss = () => process.memoryUsage().rss / 1024 ** 2;
  /** @returns milliseconds for each million, of the quickest of three */
  const stream = (values: number): number => Math.min(once(values), once(values), once(values));
  const once = (values: number): number => {
    const ciphertexts = Math.ceil(values / set.degree);
    const started = process.cpuUsage();
    for (let at = 0; at < ciphertexts; at += pageCiphertexts) {
      adder.staging.set(page);
      adder.addStaged(Math.min(pageCiphertexts, ciphertexts - at));
    }
    adder.total();
    const { user, system } = process.cpuUsage(started);
    return (user + system) / 1_000 / (values / 1_000_000);
  };
  stream(1_000_000);
  const before = rss();
  const [one = 0, , hundred = 0] = [1, 10, 100].map((count) => stream(count * 1_000_000));
  return [
    {
      what: 'CPU ms for each of 100 million values, to 1 million',
      value: hundred / one,
      unit: 'times',
      targetBelow: 2,
    },
    { what: 'memory that 100 million values take', value: rss() - before, unit: 'MiB', targetBelow: 16 },
    { what: 'memory of the whole bench', value: rss(), unit: 'MiB', targetBelow: 600 },
  ];
}

await bench('aggregate/sum', async (bench) => {
  const stream = streamed();
  const disk = await fromSqlite(bench);
  const memory = await inMemory();
  return {
    rows: [...memory.rows, disk],
    figures: [...memory.figures, ...stream],
    setting: { rounds, turns, ciphertexts: million, bytes: million * bytes },
  };
});
