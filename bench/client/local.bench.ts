// What: local encryption in the client: streams of 256 MiB (--full: 4 GiB) in pieces of 1 MiB, encrypted and decrypted,
// and messages of 64 B, 1 KiB and 4 KiB under a data key that is kept; main thread, Node build. Streams once as a
// program gets them, whose memory the collector has to free, and once with it given back as files do; the memory that
// a process grows by in the latter.
// Leaves out: disks and networks (the bytes come from memory), asking the service for data keys (once, from a stub),
// verifying a stream before it is given out (decryption in one pass), the web build.
// Floor: for streams node:crypto's AES-256-GCM over the same bytes, one cipher for all of them, in updates of 64 KiB,
// memory treated alike; for messages a loop that encrypts each with a KeyObject and a random nonce and joins nonce,
// ciphertext and tag.
// Run: node bench/client/local.bench.ts
import { createCipheriv, createDecipheriv, createSecretKey, randomBytes } from 'node:crypto';
import { release } from '../../src/client/discard.ts';
import {
  createLocalEncryption,
  type LocalEncryption,
  type LocalService,
} from '../../src/client/node/index.ts';
import { publicRandom } from '../../src/core/random.ts';
import { bench } from '../support/bench.ts';
import type { RateRow } from '../support/report.ts';
import { medianRound, rounds } from '../support/rounds.ts';

const pieceBytes = 1024 * 1024;
const segmentBytes = 64 * 1024;
const messageMilliseconds = 400;

/** Gives one data key, as the service does, and opens it again. */
function stubService(): LocalService {
  const dataKey = randomBytes(32);
  const wrapped = randomBytes(144);
  wrapped.set([0x53, 1, 1, 2]);
  const opened = () => new Uint8Array(dataKey);
  return {
    createDataKeys: () => Promise.resolve({ items: [{ plaintext: opened(), wrapped }] }),
    decrypt: () => Promise.resolve({ plaintext: opened() }),
    decryptWithKey: () => Promise.resolve({ plaintext: opened() }),
    rewrap: () => Promise.reject(new Error('not measured')),
  };
}

async function* pieces(piece: Uint8Array, count: number): AsyncGenerator<Uint8Array> {
  for (let number = 0; number < count; number += 1) yield piece;
}

type Take = (piece: Uint8Array) => void;

/** Leaves a piece to the collector. */
const leave: Take = () => undefined;

async function drained(source: AsyncIterable<Uint8Array>, take: Take): Promise<void> {
  for await (const piece of source) take(piece);
}

/** Operations a second of `work` that does `count`. */
async function rateOf(count: number, work: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await work();
  return (count * 1000) / (performance.now() - start);
}

function streamFloor(
  create: typeof createCipheriv | typeof createDecipheriv,
  { source, count, take }: { source: () => AsyncIterable<Uint8Array>; count: number; take: Take },
): Promise<number> {
  const key = createSecretKey(randomBytes(32));
  return rateOf(count, async () => {
    const cipher = create('aes-256-gcm', key, randomBytes(12));
    for await (const next of source()) {
      for (let at = 0; at < next.length; at += segmentBytes)
        take(cipher.update(next.subarray(at, at + segmentBytes)));
    }
    // Of a decipher it would compare the tag, which takes no time that can be seen here.
    if (create === createCipheriv) cipher.final();
  });
}

async function streams(local: LocalEncryption, count: number): Promise<RateRow[]> {
  const piece = randomBytes(pieceBytes);
  const parts: Uint8Array[] = [];
  for await (const part of local.encryptStream(pieces(piece, 16))) parts.push(part);
  const sealed = Buffer.concat(parts);
  async function* sealedPieces(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < sealed.length; at += pieceBytes) yield sealed.subarray(at, at + pieceBytes);
  }
  async function* allSealed(): AsyncGenerator<Uint8Array> {
    for (let done = 0; done < count; done += 16) yield* sealedPieces();
  }
  const allPieces = () => pieces(piece, count);
  const encrypt = (take: Take) => rateOf(count, () => drained(local.encryptStream(allPieces()), take));
  const decrypt = (take: Take) =>
    rateOf(count, async () => {
      // As many streams of 16 MiB as it takes: what is decrypted need not be kept.
      for (let done = 0; done < count; done += 16)
        await drained(local.decryptStream(sealedPieces(), { unsafePipe: true }), take);
    });
  const rows: RateRow[] = [];
  for (const [what, measure, create, source] of [
    ['encrypt', encrypt, createCipheriv, allPieces],
    ['decrypt', decrypt, createDecipheriv, allSealed],
  ] as const) {
    const left = await medianRound(async () => ({
      floor: await streamFloor(create, { source, count, take: leave }),
      rate: await measure(leave),
    }));
    rows.push({ what: `${what} a stream, MiB`, ...left, targetRatio: 0.8 });
    const given = await medianRound(async () => ({
      floor: await streamFloor(create, { source, count, take: release }),
      rate: await measure(release),
    }));
    rows.push({ what: `${what}, memory given back, MiB`, ...given });
  }
  return rows;
}

async function timed(work: () => unknown): Promise<number> {
  let done = 0;
  const start = performance.now();
  for (let now = start; now - start < messageMilliseconds; now = performance.now())
    for (let turn = 0; turn < 50; turn += 1, done += 1) await work();
  return (done * 1000) / (performance.now() - start);
}

async function messages(local: LocalEncryption, bytes: number): Promise<RateRow> {
  const plaintext = randomBytes(bytes);
  const key = createSecretKey(randomBytes(32));
  const floor = () => {
    const nonce = publicRandom(12);
    const cipher = createCipheriv('aes-256-gcm', key, nonce);
    return Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  };
  const measured = await medianRound(async () => ({
    floor: await timed(floor),
    rate: await timed(() => local.encrypt(plaintext)),
  }));
  return { what: `encrypt a message of ${bytes} B`, ...measured, targetRatio: 0.7 };
}

await bench('client/local', async ({ full, progress }) => {
  const client = stubService();
  const local = createLocalEncryption({ client, key: 'bench', reuse: { messages: 2 ** 30, bytes: 2 ** 45 } });
  const count = full ? 4096 : 256;
  progress(`streams of ${count} MiB`);
  const before = process.resourceUsage().maxRSS;
  await drained(local.encryptStream(pieces(new Uint8Array(pieceBytes), count)), release);
  const grown = (process.resourceUsage().maxRSS - before) / 1024;
  const rows = await streams(local, count);
  for (const bytes of [64, 1024, 4096]) {
    progress(`messages of ${bytes} B`);
    rows.push(await messages(local, bytes));
  }
  const figures = [
    { what: 'memory grown by while a stream is encrypted', value: grown, unit: 'MiB', targetBelow: 100 },
  ];
  return { rows, figures, setting: { pieceBytes, count, rounds, messageMilliseconds } };
});
