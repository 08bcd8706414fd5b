// What: X-Wing in this process: encapsulate with a public key that is ready, decapsulate with a private key that is
// ready, and decapsulate from the sealed seed's 32 bytes as the service does each time.
// Leaves out: HTTP, the audit log, the HSM that opens the seed, key confirmation.
// Floor: node:crypto's ML-KEM-768, X25519 and SHA3-256 on KeyObjects, called in a row: for encapsulation a new X25519
// key pair; for decapsulation the sender's X25519 key imported from its bytes; from the seed both private keys
// imported too. Beside it @noble/post-quantum's X-Wing, in the same run.
// Run: node bench/exchange/xwing.bench.ts
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  decapsulate,
  diffieHellman,
  encapsulate,
  generateKeyPairSync,
  randomBytes,
} from 'node:crypto';
import { ml_kem768_x25519 } from '@noble/post-quantum/hybrid.js';
import { nativeMlKem } from '../../src/crypto/kem/ml-kem-native.ts';
import { xWing } from '../../src/crypto/kem/x-wing.ts';
import { bench } from '../support/bench.ts';
import type { RateRow } from '../support/report.ts';
import { medianRound, rounds } from '../support/rounds.ts';

const milliseconds = 400;

function rateOf(work: () => unknown): number {
  let done = 0;
  const start = performance.now();
  let now = start;
  for (; now - start < milliseconds; now = performance.now())
    for (let turn = 0; turn < 20; turn += 1, done += 1) work();
  return (done * 1000) / (now - start);
}

const seed = randomBytes(32);
const kem = xWing(nativeMlKem);
const key = kem.privateKey(seed);
const publicKey = kem.publicKey(key.publicKey);
const made = publicKey?.encapsulate();
if (publicKey === undefined || made === undefined) throw new Error('no key');
const { ciphertext } = made;

const mlKemSeed = randomBytes(64);
const xSeed = randomBytes(32);
const mlKemKey = () =>
  createPrivateKey({ key: mlKemSeed, format: 'raw-seed', asymmetricKeyType: 'ml-kem-768' });
const xKey = () => createPrivateKey({ key: xSeed, format: 'raw-private', asymmetricKeyType: 'x25519' });
const floorKeys = { m: mlKemKey(), x: xKey() };
const floorPublic = { m: createPublicKey(floorKeys.m), x: createPublicKey(floorKeys.x) };
const fromM = encapsulate(floorPublic.m).ciphertext;
const fromX = generateKeyPairSync('x25519').publicKey.export({ format: 'raw-public' });
const hashed = randomBytes(134);

function floorEncapsulate(): unknown {
  const { privateKey, publicKey: sent } = generateKeyPairSync('x25519');
  diffieHellman({ privateKey, publicKey: floorPublic.x });
  encapsulate(floorPublic.m);
  sent.export({ format: 'raw-public' });
  return createHash('sha3-256').update(hashed).digest();
}

function floorDecapsulate({ m, x } = floorKeys): unknown {
  const sender = createPublicKey({ key: fromX, format: 'raw-public', asymmetricKeyType: 'x25519' });
  diffieHellman({ privateKey: x, publicKey: sender });
  decapsulate(m, fromM);
  return createHash('sha3-256').update(hashed).digest();
}

const noblePair = ml_kem768_x25519.keygen(seed);

const subjects = [
  {
    what: 'encapsulate',
    ours: () => publicKey.encapsulate(),
    floor: floorEncapsulate,
    noble: () => ml_kem768_x25519.encapsulate(noblePair.publicKey),
  },
  {
    what: 'decapsulate',
    ours: () => key.decapsulate(ciphertext),
    floor: () => floorDecapsulate(),
    noble: () => ml_kem768_x25519.decapsulate(ciphertext, noblePair.secretKey),
  },
  {
    what: 'decapsulate, from the seed',
    ours: () => kem.privateKey(seed).decapsulate(ciphertext),
    floor: () => floorDecapsulate({ m: mlKemKey(), x: xKey() }),
  },
];

await bench('exchange/xwing', async ({ progress }) => {
  const rows: RateRow[] = [];
  for (const { what, ours, floor, noble } of subjects) {
    progress(what);
    for (const work of [ours, floor]) rateOf(work);
    const measured = await medianRound(() => Promise.resolve({ floor: rateOf(floor), rate: rateOf(ours) }));
    rows.push({ what, ...measured, targetRatio: 0.8 });
    if (noble === undefined) continue;
    rateOf(noble);
    const beside = await medianRound(() => Promise.resolve({ floor: rateOf(noble), rate: rateOf(ours) }));
    rows.push({ what: `${what}, beside @noble/post-quantum`, ...beside, targetRatio: 15 });
  }
  return { rows, setting: { rounds, milliseconds } };
});
