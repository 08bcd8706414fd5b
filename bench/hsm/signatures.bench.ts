// What: ECDSA over P-256 and RSA-PSS of 2,048 and 4,096 bits through the HSM adapter's lane of signatures, 32 in flight,
// SoftHSM, one process; and how long an encryption takes in the fast lane, one a millisecond, alone and beside them.
// Leaves out: HTTP, authorization, audit, misses (the keys are in the token), and the making of key pairs.
// Floor: the same module called synchronously by the main thread of this process while the lanes rest, rounds taking
// turns. The encryption's p99 beside signatures is held against that alone.
// Run: node bench/hsm/signatures.bench.ts
import { randomBytes } from 'node:crypto';
import pkcs11js from 'pkcs11js';
import type { Hsm, KeyRef, PairKind, SignatureMechanism } from '../../src/hsm/hsm.ts';
import { loadModule, readOnlySession, slotsWithLabel } from '../../src/hsm/pkcs11/cryptoki.ts';
import { pairGeneration } from '../../src/hsm/pkcs11/pair-objects.ts';
import { makeKey, openTestToken } from '../../test/support/token.ts';
import { bench } from '../support/bench.ts';
import type { Figure, RateRow } from '../support/report.ts';
import { medianRound, rounds } from '../support/rounds.ts';

const inFlight = 32;
const roundMilliseconds = 700;
const digest = randomBytes(32);

interface Subject {
  readonly what: string;
  readonly kind: PairKind;
  readonly mechanism: SignatureMechanism;
}

const subjects: readonly Subject[] = [
  { what: 'ECDSA P-256', kind: 'ec-p256', mechanism: 'ecdsa' },
  { what: 'RSA-PSS 2048', kind: 'rsa-2048', mechanism: 'rsa-pss' },
  { what: 'RSA-PSS 4096', kind: 'rsa-4096', mechanism: 'rsa-pss' },
];

const pss = {
  mechanism: pkcs11js.CKM_RSA_PKCS_PSS,
  parameter: {
    type: pkcs11js.CK_PARAMS_RSA_PSS,
    hashAlg: pkcs11js.CKM_SHA256,
    mgf: pkcs11js.CKG_MGF1_SHA256,
    saltLen: 32,
  },
};

async function rateThrough(hsm: Hsm, key: KeyRef, mechanism: SignatureMechanism): Promise<number> {
  let done = 0;
  const start = performance.now();
  await Promise.all(
    Array.from({ length: inFlight }, async () => {
      for (; performance.now() - start < roundMilliseconds; done += 1) await hsm.sign(key, mechanism, digest);
    }),
  );
  return (done * 1_000) / (performance.now() - start);
}

/** p99 of one encryption a millisecond, in milliseconds. */
async function latency(hsm: Hsm, key: KeyRef, milliseconds: number): Promise<number> {
  const input = { nonce: new Uint8Array(12), aad: new Uint8Array(140), data: new Uint8Array(32) };
  const taken: number[] = [];
  const waiting: Promise<void>[] = [];
  const start = performance.now();
  while (performance.now() - start < milliseconds) {
    const since = performance.now();
    waiting.push(hsm.encrypt(key, input).then(() => void taken.push(performance.now() - since)));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await Promise.all(waiting);
  return taken.toSorted((a, b) => a - b)[Math.floor(taken.length * 0.99)] ?? 0;
}

/** Keeps the lane of signatures busy while `work` runs. */
async function beside<T>(hsm: Hsm, key: KeyRef, { mechanism }: Subject, work: () => Promise<T>): Promise<T> {
  let busy = true;
  const clients = Array.from({ length: inFlight }, async () => {
    while (busy) await hsm.sign(key, mechanism, digest);
  });
  try {
    return await work();
  } finally {
    busy = false;
    await Promise.all(clients);
  }
}

await bench('hsm/signatures', async ({ progress }) => {
  const { hsm, settings, close } = await openTestToken();
  const cryptoki = loadModule(settings.module);
  const [slot] = slotsWithLabel(cryptoki, settings.tokenLabel);
  if (slot === undefined) throw new Error('the token is not there');
  const session = cryptoki.C_OpenSession(slot, readOnlySession);
  const kek = await makeKey(hsm, 'kek');
  const aes = await makeKey(hsm, 'aes-256', kek);
  const rows: RateRow[] = [];
  const figures: Figure[] = [];
  await latency(hsm, aes, 500);
  for (const subject of subjects) {
    const { what, kind, mechanism } = subject;
    progress(what);
    const made = await hsm.generatePair(kind, kek);
    const key: KeyRef = { id: `bench-${kind}`, kind, blob: made.blob, under: kek };
    const { mechanism: making, publicKey, privateKey } = pairGeneration(kind);
    const usable = privateKey.map((attribute) =>
      attribute.type === pkcs11js.CKA_SIGN ? { ...attribute, value: true } : attribute,
    );
    const pair = cryptoki.C_GenerateKeyPair(session, making, publicKey, usable);
    const output = Buffer.alloc(1024);
    const alone = (): number => {
      let done = 0;
      const start = performance.now();
      for (; performance.now() - start < roundMilliseconds; done += 1) {
        cryptoki.C_SignInit(
          session,
          mechanism === 'ecdsa' ? { mechanism: pkcs11js.CKM_ECDSA } : pss,
          pair.privateKey,
        );
        cryptoki.C_Sign(session, digest, output);
      }
      return (done * 1_000) / (performance.now() - start);
    };
    await rateThrough(hsm, key, mechanism);
    const measured = await medianRound(async () => ({
      floor: alone(),
      rate: await rateThrough(hsm, key, mechanism),
    }));
    rows.push({ what: `${what}, ${inFlight} in flight`, ...measured, targetRatio: 0.7 });
    const idle: number[] = [];
    const busy: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      idle.push(await latency(hsm, aes, roundMilliseconds));
      busy.push(await beside(hsm, key, subject, () => latency(hsm, aes, roundMilliseconds)));
    }
    const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(rounds / 2)] ?? 0;
    figures.push(
      { what: `p99 of encrypting, alone`, value: median(idle), unit: 'ms' },
      { what: `p99 of encrypting beside ${what}`, value: median(busy), unit: 'ms' },
      { what: 'beside to alone', value: median(busy) / median(idle), unit: 'times', targetBelow: 2 },
    );
  }
  cryptoki.C_CloseSession(session);
  await close();
  return { rows, figures, setting: { inFlight, rounds, roundMilliseconds } };
});
