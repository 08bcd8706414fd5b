// What: signatures of 1 KiB by keys whose seed is in process memory for the operation, from the seed as the service does
// each time: ML-DSA-65, Ed25519 and the composite of both; ML-DSA-65 through the thread that the service uses, too.
// Leaves out: HTTP, the audit log, the HSM that opens the seed.
// Floor: node:crypto, called in a row: the private key imported from the same bytes, and one signature.
// Run: node bench/signing/seeds.bench.ts
import { createPrivateKey, randomBytes, sign } from 'node:crypto';
import { inputOf, schemes } from '../../src/crypto/signatures/schemes.ts';
import { createThreads } from '../../src/signing/threads.ts';
import { bench } from '../support/bench.ts';
import type { RateRow } from '../support/report.ts';
import { medianRound, rounds } from '../support/rounds.ts';

const milliseconds = 400;
const message = randomBytes(1024);
const [mlDsaSeed, edSeed] = [randomBytes(32), randomBytes(32)];
const bothSeeds = Buffer.concat([mlDsaSeed, edSeed]);

async function rateOf(work: () => unknown): Promise<number> {
  let done = 0;
  const start = performance.now();
  let now = start;
  for (; now - start < milliseconds; now = performance.now())
    for (let turn = 0; turn < 10; turn += 1, done += 1) await work();
  return (done * 1000) / (now - start);
}

function ours(algorithm: 'ml-dsa-65' | 'ed25519' | 'ml-dsa-65-ed25519', seed: Uint8Array): () => unknown {
  const scheme = schemes[algorithm];
  if (scheme.kind !== 'seed') throw new Error('no seed');
  const input = inputOf(scheme, { form: 'message', bytes: message });
  return () => scheme.sign(seed, input);
}

const floorMlDsa = () =>
  sign(
    null,
    message,
    createPrivateKey({ key: mlDsaSeed, format: 'raw-seed', asymmetricKeyType: 'ml-dsa-65' }),
  );
const floorEd = () =>
  sign(null, message, createPrivateKey({ key: edSeed, format: 'raw-private', asymmetricKeyType: 'ed25519' }));

const threads = createThreads();
const inThread = {
  operation: 'sign',
  algorithm: 'ml-dsa-65',
  seed: mlDsaSeed,
  input: inputOf(schemes['ml-dsa-65'], { form: 'message', bytes: message }),
} as const;

const subjects = [
  { what: 'ML-DSA-65', work: ours('ml-dsa-65', mlDsaSeed), floor: floorMlDsa, targetRatio: 0.8 },
  {
    what: 'ML-DSA-65, in the thread',
    work: () => Promise.all(Array.from({ length: 8 }, () => threads.run('medium', inThread))),
    each: 8,
    floor: floorMlDsa,
    targetRatio: 0.8,
  },
  { what: 'Ed25519', work: ours('ed25519', edSeed), floor: floorEd },
  {
    what: 'ML-DSA-65 and Ed25519',
    work: ours('ml-dsa-65-ed25519', bothSeeds),
    floor: () => [floorMlDsa(), floorEd()],
  },
];

await bench('signing/seeds', async ({ progress }) => {
  const rows: RateRow[] = [];
  for (const { what, work, floor, each = 1, targetRatio } of subjects) {
    progress(what);
    for (const warm of [work, floor]) await rateOf(warm);
    const measured = await medianRound(async () => ({
      floor: await rateOf(floor),
      rate: (await rateOf(work)) * each,
    }));
    rows.push({ what, ...measured, targetRatio });
  }
  await threads.close();
  return { rows, setting: { rounds, milliseconds, messageBytes: message.length } };
});
