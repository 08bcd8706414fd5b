// What: HPKE in this process, base mode, one message of 1 KiB under AES-256-GCM: sealed to a public key that is ready,
// and opened from the 32 bytes of the seed as the service does each time; to X-Wing, X25519 and P-256.
// Rates are by CPU time of the process.
// Leaves out: HTTP, the audit log, the HSM that opens the seed.
// Floor: node:crypto's calls in a row on KeyObjects: the key encapsulation (of X-Wing ML-KEM-768, X25519 and SHA3-256)
// with its keys imported as ours are, HKDF-SHA256 once, AES-256-GCM. Beside it the `hpke` package, in the same run.
// Run: node bench/exchange/hpke.bench.ts
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  decapsulate,
  diffieHellman,
  encapsulate,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import * as other from 'hpke';
import { openFrom, sealTo } from '../../src/crypto/hpke/hpke.ts';
import { hpkeKems } from '../../src/crypto/hpke/kem.ts';
import { hpkeSuite } from '../../src/crypto/hpke/suites.ts';
import { publicKeyOf } from '../../src/crypto/kem/pairs.ts';
import { bench } from '../support/bench.ts';
import type { RateRow } from '../support/report.ts';
import { medianRound, rounds } from '../support/rounds.ts';

const milliseconds = 400;
const plaintext = randomBytes(1024);
const [info, aad] = [Buffer.from('bench'), Buffer.from('aad')];
const nonce = randomBytes(12);

/** Operations a second of this process's CPU time, all its threads: others on the machine do not count. */
async function rateOf(work: () => unknown): Promise<number> {
  let done = 0;
  const start = process.cpuUsage();
  const used = () => {
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1000;
  };
  while (used() < milliseconds) for (let turn = 0; turn < 10; turn += 1, done += 1) await work();
  return (done * 1000) / used();
}

const mlKemSeed = randomBytes(64);
const mlKemKey = () =>
  createPrivateKey({ key: mlKemSeed, format: 'raw-seed', asymmetricKeyType: 'ml-kem-768' });
const mlKemPublic = createPublicKey(mlKemKey());
const fromM = encapsulate(mlKemPublic).ciphertext;
const hashed = randomBytes(134);
const curves = {
  x25519: () => generateKeyPairSync('x25519'),
  p256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
} as const;
const pairs = { x25519: curves.x25519(), p256: curves.p256() };
const stored = {
  x25519: pairs.x25519.privateKey.export({ format: 'der', type: 'pkcs8' }),
  p256: pairs.p256.privateKey.export({ format: 'der', type: 'pkcs8' }),
};
const sent = {
  x25519: pairs.x25519.publicKey.export({ format: 'der', type: 'spki' }),
  p256: pairs.p256.publicKey.export({ format: 'der', type: 'spki' }),
};

function keyOf(secret: Buffer): KeyObject {
  return createSecretKey(Buffer.from(hkdfSync('sha256', createSecretKey(secret), Buffer.alloc(0), info, 32)));
}

function floorSeal(curve: keyof typeof curves, hybrid: boolean): unknown {
  const ephemeral = curves[curve]();
  const agreed = diffieHellman({
    privateKey: ephemeral.privateKey,
    publicKey: createPublicKey({ key: sent[curve], format: 'der', type: 'spki' }),
  });
  ephemeral.publicKey.export({ format: 'der', type: 'spki' });
  if (hybrid) encapsulate(mlKemPublic);
  const secret = hybrid ? createHash('sha3-256').update(hashed).digest() : agreed;
  const cipher = createCipheriv('aes-256-gcm', keyOf(secret), nonce).setAAD(aad);
  return [cipher.update(plaintext), cipher.final(), cipher.getAuthTag()];
}

const sealedFloor = (() => {
  const cipher = createCipheriv('aes-256-gcm', randomBytes(32), nonce).setAAD(aad);
  return [cipher.update(plaintext), cipher.final(), cipher.getAuthTag()] as const;
})();

function floorOpen(curve: keyof typeof curves, hybrid: boolean): unknown {
  const agreed = diffieHellman({
    privateKey: createPrivateKey({ key: stored[curve], format: 'der', type: 'pkcs8' }),
    publicKey: createPublicKey({ key: sent[curve], format: 'der', type: 'spki' }),
  });
  if (hybrid) decapsulate(mlKemKey(), fromM);
  const secret = hybrid ? createHash('sha3-256').update(hashed).digest() : agreed;
  const decipher = createDecipheriv('aes-256-gcm', keyOf(secret), nonce).setAAD(aad);
  // The tag is another key's: it is compared, and what follows is not part of the cost.
  decipher.setAuthTag(sealedFloor[2]);
  return decipher.update(sealedFloor[0]);
}

const subjects = {
  'x-wing': { package: other.KEM_MLKEM768_X25519, curve: 'x25519', hybrid: true },
  x25519: { package: other.KEM_DHKEM_X25519_HKDF_SHA256, curve: 'x25519', hybrid: false },
  p256: { package: other.KEM_DHKEM_P256_HKDF_SHA256, curve: 'p256', hybrid: false },
} as const;

await bench('exchange/hpke', async ({ progress }) => {
  const rows: RateRow[] = [];
  for (const name of ['x-wing', 'x25519', 'p256'] as const) {
    const { package: kem, curve, hybrid } = subjects[name];
    const suite = hpkeSuite(name, 'aes-256-gcm');
    const theirs = new other.CipherSuite<other.Key>(kem, other.KDF_HKDF_SHA256, other.AEAD_AES_256_GCM);
    const seed = Buffer.alloc(32, 5);
    const publicKey = publicKeyOf(name, seed);
    const recipient = publicKey && hpkeKems[name].recipient(publicKey);
    const made = recipient && (await sealTo(suite, { recipient, info, aad, plaintext }));
    if (made === undefined || publicKey === undefined || recipient === undefined) throw new Error('no key');
    const pair = { seed, publicKey };
    const theirPublic = await theirs.DeserializePublicKey(publicKey);
    const theirPair = { privateKey: await theirs.DeserializePrivateKey(seed, true), publicKey: theirPublic };
    const work = [
      {
        what: `${name}, seal`,
        ours: () => sealTo(suite, { recipient, info, aad, plaintext }),
        floor: () => floorSeal(curve, hybrid),
        beside: () => theirs.Seal(theirPublic, plaintext, { info, aad }),
      },
      {
        what: `${name}, open from the seed`,
        ours: () => openFrom(suite, { recipient: pair, info, aad, ...made }),
        floor: () => floorOpen(curve, hybrid),
        beside: () => theirs.Open(theirPair, made.enc, made.ciphertext, { info, aad }),
      },
    ];
    for (const { what, ours, floor, beside } of work) {
      progress(what);
      for (const each of [ours, floor, beside]) await rateOf(each);
      const measured = await medianRound(async () => ({
        floor: await rateOf(floor),
        rate: await rateOf(ours),
      }));
      rows.push({ what, ...measured });
      const compared = await medianRound(async () => ({
        floor: await rateOf(beside),
        rate: await rateOf(ours),
      }));
      rows.push({ what: `${what}, beside hpke`, ...compared });
    }
  }
  return { rows, setting: { rounds, milliseconds, plaintextBytes: plaintext.length } };
});
