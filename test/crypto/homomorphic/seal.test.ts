import { expect, test } from 'vitest';
import {
  ciphertextBytes,
  ciphertextHeader,
  headerBytes,
} from '../../../src/crypto/homomorphic/ciphertext.ts';
import { createResidueAdder } from '../../../src/crypto/homomorphic/kernel.ts';
import {
  largestTotal,
  parameterSetNames,
  parameterSets,
} from '../../../src/crypto/homomorphic/parameters.ts';
import {
  openBgv,
  publicKeyBytes,
  SealFailure,
  secretKeyBytes,
} from '../../../src/crypto/homomorphic/seal.ts';

/** Guarantees that SEAL knows the parameters as they are written here, and that OpenFHE's and the standard's bounds hold. */
test.each(parameterSetNames)('SEAL agrees on %s', async (name) => {
  const set = parameterSets[name];
  const { default: load } = await import('node-seal');
  const seal = await load();
  const moduli = seal.CoeffModulus.Create(set.degree, Int32Array.from(set.modulusBits));
  expect((seal.jsArrayFromVecModulus(moduli) as bigint[]).slice(0, 2)).toEqual([...set.moduli]);
  expect(seal.PlainModulus.Batching(set.degree, 60).value()).toBe(set.plainModulus);
  expect(set.modulusBits.reduce((sum, bits) => sum + bits)).toBe(Number(name.slice(-3)));
});

/**
 * Guarantees that ciphertexts are as the header has it, that the kernel's sums of them decrypt to the sums of their
 * values, at the bounds, and that keys have the lengths that are checked.
 */
test.each(parameterSetNames)('sums of %s decrypt', async (name) => {
  const set = parameterSets[name];
  const bgv = await openBgv(set);
  const { publicKey, secretKey } = bgv.generateKeys();
  expect([publicKey.length, secretKey.length]).toEqual([publicKeyBytes(set), secretKeyBytes(set)]);
  const encryptor = bgv.encryptor(publicKey);
  const decryptor = bgv.decryptor(secretKey);
  const limit = largestTotal(set);
  const count = 3n;
  const slots = new BigInt64Array(set.degree).map((_, at) => (BigInt(at % 3) - 1n) * (limit / count));
  const adder = createResidueAdder(set, Number(count));
  for (let index = 0; index < count; index += 1) {
    const ciphertext = encryptor.encrypt(slots);
    expect(ciphertext.length).toBe(ciphertextBytes(set));
    expect(Buffer.compare(ciphertext.subarray(0, headerBytes), ciphertextHeader(set))).toBe(0);
    adder.staging.set(ciphertext.subarray(headerBytes), (index * adder.staging.length) / Number(count));
    expect(adder.faultOf(index)).toBeUndefined();
  }
  adder.addStaged(Number(count));
  const total = decryptor.decrypt(adder.total());
  expect(total.every((value, at) => value === slots[at]! * count)).toBe(true);
  encryptor.close();
  decryptor.close();
});

/**
 * Guarantees that as many additions as the parameters allow leave a sum right, with the same ciphertext each time: its
 * noise then grows as the worst does, and not as that of different ones.
 */
test('all additions that are allowed decrypt', async () => {
  const set = parameterSets['bgv-4096-101'];
  const bgv = await openBgv(set);
  const { publicKey, secretKey } = bgv.generateKeys();
  const encryptor = bgv.encryptor(publicKey);
  const slots = new BigInt64Array(set.degree).map((_, at) => BigInt((at % 7) - 3));
  // 2^17 = 64 · 2^11: sums of sums are sums.
  const adder = createResidueAdder(set, 64);
  let residues = encryptor.encrypt(slots).subarray(headerBytes);
  for (const [count, rounds] of [
    [64, 1],
    [64, 1],
    [32, 1],
  ] as const) {
    adder.reset();
    for (let index = 0; index < count; index += 1) adder.staging.set(residues, index * residues.length);
    for (let round = 0; round < rounds; round += 1) adder.addStaged(count);
    residues = adder.total();
  }
  const total = bgv.decryptor(secretKey).decrypt(residues);
  expect(total.every((value, at) => value === slots[at]! * BigInt(set.additions))).toBe(true);
});

/** Guarantees that what SEAL does not take gives one error that says nothing, and nothing of SEAL's. */
test('failures are all alike', async () => {
  const set = parameterSets['bgv-4096-101'];
  const bgv = await openBgv(set);
  const { publicKey, secretKey } = bgv.generateKeys();
  const broken = [
    () => bgv.encryptor(publicKey.subarray(1)),
    () => bgv.encryptor(new Uint8Array(publicKey.length)),
    () => bgv.decryptor(secretKey.toReversed()),
    () => bgv.decryptor(secretKey).decrypt(new Uint8Array(8)),
    () => bgv.encryptor(publicKey).encrypt(new BigInt64Array(set.degree + 1)),
  ];
  for (const work of broken) {
    let error: unknown;
    try {
      work();
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(SealFailure);
    expect((error as Error).message).toBe('SEAL failed');
    expect((error as Error).cause).toBeUndefined();
  }
  await expect(
    openBgv({ ...set, ciphertextParametersId: parameterSets['bgv-4096-109'].ciphertextParametersId }),
  ).rejects.toBeInstanceOf(SealFailure);
});
