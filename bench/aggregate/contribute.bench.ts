// What: contributions of one ciphertext (4,096 numbers, 131 KB): packed and encrypted as the client's worker does; and
// uploaded to one service process over HTTP/1.1, 4 connections: authenticated, judged, kept with its audit record in
// one transaction.
// Leaves out: TLS, a network, adding up rows, the start of the worker (some 60 ms), contributions of several
// ciphertexts, PostgreSQL.
// Floors: node-seal's encode, encrypt and save in a row, of slots that are ready; for uploads a bare node:http that
// receives the same bytes and takes their SHA-256, and beside it SQLite alone that keeps as many bytes a transaction.
// Run: node bench/aggregate/contribute.bench.ts [--directory DIR]
import { createHash } from 'node:crypto';
import { Agent, request } from 'node:http';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { Worker } from 'node:worker_threads';
import Database from 'better-sqlite3';
import { headerBytes } from '../../src/crypto/homomorphic/ciphertext.ts';
import { layoutOf } from '../../src/crypto/homomorphic/layout.ts';
import { pack } from '../../src/crypto/homomorphic/packing.ts';
import { parameterSets, residueBytes } from '../../src/crypto/homomorphic/parameters.ts';
import { openBgv } from '../../src/crypto/homomorphic/seal.ts';
import { bindingText, prologueBytes, uploadMagic } from '../../src/crypto/homomorphic/upload.ts';
import { type Bench, bench } from '../support/bench.ts';
import type { RateRow } from '../support/report.ts';
import { medianRound, rounds } from '../support/rounds.ts';
import { type BenchService, initialize, startService } from '../support/service.ts';

const set = parameterSets['bgv-4096-101'];
const encryptions = 40;
const uploads = 60;
const connections = 4;
const labels = Array.from({ length: 1_000 }, (_, at) => `${at}`);
const definition = {
  columns: [{ name: 'value', lower: 0, upper: 1_000_000, scale: 0, unit: '' }],
  groups: [{ name: 'group', labels }],
};
const policy = {
  ...{ statistics: ['sum', 'variance'], rowsPerContribution: 1_000, contributions: 100_000 },
  ...{ contributionsPerContributor: 1_000, budget: { epsilon: 1 }, contributors: ['*'], analysts: ['*'] },
};

async function encrypting(): Promise<RateRow> {
  const layout = layoutOf({ ...definition, ...policy, squares: true }, set);
  const bgv = await openBgv(set);
  const { publicKey } = bgv.generateKeys();
  const encryptor = bgv.encryptor(publicKey);
  const { default: load } = await import('node-seal');
  const seal = await load();
  const parameters = new seal.EncryptionParameters(seal.SchemeType.bgv);
  parameters.setPolyModulusDegree(set.degree);
  parameters.setCoeffModulus(seal.CoeffModulus.Create(set.degree, Int32Array.from(set.modulusBits)));
  parameters.setPlainModulus(seal.PlainModulus.Batching(set.degree, 60));
  const context = new seal.SEALContext(parameters, true, seal.SecLevelType.tc128);
  const bare = new seal.Encryptor(context, new seal.KeyGenerator(context).createPublicKey());
  const encoder = new seal.BatchEncoder(context);
  const [plaintext, ciphertext] = [new seal.Plaintext(), new seal.Ciphertext()];
  const slots = new BigInt64Array(set.degree).fill(7n);
  const rateOf = (work: () => unknown): number => {
    const started = performance.now();
    for (let turn = 0; turn < encryptions; turn += 1) work();
    return (encryptions * 1_000) / (performance.now() - started);
  };
  const found = await medianRound(async () => ({
    floor: rateOf(() => {
      encoder.encode(slots, plaintext);
      bare.encrypt(plaintext, ciphertext);
      ciphertext.saveToArray(seal.ComprModeType.none);
    }),
    rate: rateOf(() => pack(layout, () => 7n).map((one) => encryptor.encrypt(one))),
  }));
  return { what: 'ciphertexts packed and encrypted', ...found, targetRatio: 0.8 };
}

interface Upload {
  readonly path: string;
  readonly body: Buffer;
}

/** Sends bodies over some connections that stay open. @returns bodies a second */
async function sendAll(
  { port, token }: Pick<BenchService, 'port' | 'token'>,
  all: readonly Upload[],
): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const started = performance.now();
  await Promise.all(
    all.map(
      ({ path, body }) =>
        new Promise<void>((resolve, reject) => {
          const headers = {
            ...{ authorization: `Bearer ${token}`, 'content-type': 'application/octet-stream' },
            'content-length': body.length,
          };
          const sent = request({ agent, host: '127.0.0.1', port, path, method: 'POST', headers });
          sent.on('response', (answer) => {
            void buffer(answer).then((text) =>
              answer.statusCode === 201 ? resolve() : reject(new Error(text.toString())),
            );
          });
          sent.on('error', reject);
          sent.end(body);
        }),
    ),
  );
  agent.destroy();
  return (all.length * 1_000) / (performance.now() - started);
}

const floorProgram = `
const { createHash } = require('node:crypto');
const { createServer } = require('node:http');
const { parentPort } = require('node:worker_threads');
const server = createServer((incoming, answer) => {
  const parts = [];
  incoming.on('data', (part) => parts.push(part));
  incoming.on('end', () => {
    createHash('sha256').update(Buffer.concat(parts)).digest();
    answer.writeHead(201).end('{}');
  });
}).listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));
`;

function startFloor(atEnd: (cleanUp: () => void) => void): Promise<number> {
  const worker = new Worker(floorProgram, { eval: true });
  atEnd(() => void worker.terminate());
  return new Promise((resolve) => worker.once('message', resolve));
}

interface EpochKey {
  readonly manifest: string;
  readonly publicKey: string;
  readonly contributorId: string;
}

/** Makes uploads that nobody has sent yet, each under a number of its own. */
async function createUploads(service: BenchService) {
  await service.call('POST', '/v1/datasets', { name: 'bench', definition, policy });
  const key = await service.call<EpochKey>('GET', '/v1/datasets/bench/epoch-key');
  const { manifest, contributorId } = key;
  const encryptor = (await openBgv(set)).encryptor(new Uint8Array(Buffer.from(key.publicKey, 'base64')));
  const ciphertext = encryptor.encrypt(new BigInt64Array(set.degree));
  let ordinal = 0;
  return (): Upload[] =>
    Array.from({ length: uploads }, () => {
      ordinal += 1;
      const binding = createHash('sha256').update(bindingText({ manifest, contributorId, ordinal }));
      const body = Buffer.concat([uploadMagic, binding.digest(), ciphertext]);
      // No two may be the same.
      body.writeBigUInt64LE(BigInt(ordinal), prologueBytes + headerBytes);
      return { path: `/v1/datasets/bench/epochs/1/contributions/${ordinal}`, body };
    });
}

/** Commits rows as long as a ciphertext, one after the other, durable as the service's. @returns rows a second */
function createKeeping(bench: Bench): () => number {
  const database = new Database(join(bench.directory(), 'floor.db'));
  database.pragma('journal_mode = WAL');
  database.pragma('synchronous = FULL');
  database.exec('create table kept (id integer primary key, residues blob)');
  const insert = database.prepare('insert into kept (residues) values (?)');
  const residues = Buffer.alloc(residueBytes(set), 7);
  return () => {
    const started = performance.now();
    for (let turn = 0; turn < uploads; turn += 1) insert.run(residues);
    return (uploads * 1_000) / (performance.now() - started);
  };
}

await bench('aggregate/contribute', async (bench) => {
  const encrypted = await encrypting();
  const floorPort = await startFloor(bench.atEnd);
  const service = await startService(bench, await initialize(bench));
  const next = await createUploads(service);
  await sendAll(service, next());
  const kept = await medianRound(async () => {
    const all = next();
    return { floor: await sendAll({ port: floorPort, token: '' }, all), rate: await sendAll(service, all) };
  });
  const keep = createKeeping(bench);
  const durable = await medianRound(async () => ({ floor: keep(), rate: await sendAll(service, next()) }));
  await service.stop();
  return {
    rows: [
      encrypted,
      { what: 'uploads of 131 KB, to receiving and hashing', ...kept, targetRatio: 0.5 },
      { what: 'uploads of 131 KB, to SQLite’s commits of as many bytes', ...durable },
    ],
    setting: { rounds, encryptions, uploads, connections },
  };
});
