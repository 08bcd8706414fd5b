import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  recipientContext,
  schedule,
  senderContext,
  sequenceLimit,
} from '../../../src/crypto/hpke/context.ts';
import {
  openFrom,
  type RecipientSetup,
  sealTo,
  setupRecipient,
  setupSender,
} from '../../../src/crypto/hpke/hpke.ts';
import { hpkeKems, type KeyPair } from '../../../src/crypto/hpke/kem.ts';
import {
  type HpkeKemName,
  type HpkeSuite,
  hpkeAeadNames,
  hpkeSuite,
} from '../../../src/crypto/hpke/suites.ts';
import { hexOf } from '../kem/support.ts';
import { kemNames, pairOf, sealingSuites } from './support.ts';

const info = Buffer.from('an application');
const aad = Buffer.from('a row');
const plaintext = Buffer.from('to be kept');
const psk = { psk: Buffer.alloc(32, 7), pskId: Buffer.from('which') };

function recipientOf(kem: HpkeKemName, { publicKey }: KeyPair) {
  const recipient = hpkeKems[kem].recipient(publicKey);
  if (recipient === undefined) throw new Error('no public key');
  return recipient;
}

/** The mode by what is given: 0 to 3. */
function modeOf(suite: HpkeSuite, mode: number) {
  const sender = mode >= 2 ? pairOf(suite.kem, 4) : undefined;
  return { sender, psk: mode % 2 === 1 ? psk : undefined };
}

function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const changed = Uint8Array.from(bytes);
  const at = (bit >> 3) % bytes.length;
  changed[at] = (changed[at] ?? 0) ^ (1 << (bit & 7));
  return changed;
}

const modes = sealingSuites.flatMap((suite) =>
  [0, 1, 2, 3]
    .filter((mode) => mode < 2 || hpkeKems[suite.kem].authenticates)
    .map((mode) => ({ suite, mode, title: `${suite.name}, mode ${mode}` })),
);

describe.each(modes)('$title', ({ suite, mode }) => {
  const pair = pairOf(suite.kem, 3);
  const { sender, psk: shared } = modeOf(suite, mode);

  async function sealed() {
    const recipient = recipientOf(suite.kem, pair);
    const made = await sealTo(suite, { recipient, sender, info, psk: shared, aad, plaintext });
    if (made === undefined) throw new Error('refused');
    const senderPublicKey = sender?.publicKey;
    return { recipient: pair, senderPublicKey, info, psk: shared, aad, ...made };
  }

  /** Guarantees that what was sealed opens, and does not once a bit of anything that belongs to it is another. */
  test('opens as it was sealed alone', async () => {
    const whole = await sealed();
    expect(hexOf(await openFrom(suite, whole))).toBe(hexOf(plaintext));
    const members = ['enc', 'ciphertext', 'info', 'aad'] as const;
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...members), fc.nat(20_000), async (member, bit) => {
        const changed = { ...whole, [member]: flipped(whole[member], bit) };
        expect(await openFrom(suite, changed)).toBeUndefined();
      }),
      { numRuns: 40 },
    );
    const others: Partial<RecipientSetup>[] = [
      { recipient: pairOf(suite.kem, 2) },
      { psk: shared ? undefined : psk },
      ...(shared ? [{ psk: { ...psk, psk: flipped(psk.psk, 9) } }] : []),
      ...(shared ? [{ psk: { ...psk, pskId: flipped(psk.pskId, 9) } }] : []),
      ...(hpkeKems[suite.kem].authenticates
        ? [{ senderPublicKey: sender ? undefined : pairOf(suite.kem, 4).publicKey }]
        : []),
      ...(sender ? [{ senderPublicKey: pairOf(suite.kem, 8).publicKey }] : []),
    ];
    for (const other of others) expect(await openFrom(suite, { ...whole, ...other })).toBeUndefined();
  });

  /** Guarantees that no other AEAD of the KEM opens it, and no other length of what came. */
  test('another suite, other lengths', async () => {
    const whole = await sealed();
    for (const aead of hpkeAeadNames.filter((name) => name !== suite.aead && name !== 'export-only'))
      expect(await openFrom(hpkeSuite(suite.kem, aead), whole)).toBeUndefined();
    for (const length of [0, 15, 16, whole.ciphertext.length - 1])
      expect(
        await openFrom(suite, { ...whole, ciphertext: whole.ciphertext.slice(0, length) }),
      ).toBeUndefined();
    for (const enc of [new Uint8Array(), whole.enc.slice(1), Buffer.concat([whole.enc, Buffer.of(0)])])
      expect(await openFrom(suite, { ...whole, enc })).toBeUndefined();
  });
});

/** Guarantees that public keys of every other length are none. */
test.for(kemNames)('lengths of public keys, %s', (kem) => {
  const { length } = pairOf(kem, 3).publicKey;
  const taken = [0, 1, 31, 33, 64, 66, length - 1, length + 1].filter(
    (bytes) => hpkeKems[kem].recipient(new Uint8Array(bytes).fill(4)) !== undefined,
  );
  expect(taken).toEqual([]);
});

const prime = Buffer.alloc(32, 0xff);
[prime[0], prime[31]] = [0xee, 0x7f];
const point = Buffer.from(pairOf('p256', 3).publicKey);
const compressed = Buffer.concat([Buffer.of(2), point.subarray(1, 33)]);
const weak = {
  x25519: [
    ...['00', '01', 'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800'].map((hex) =>
      Buffer.from(hex.padEnd(64, '0'), 'hex'),
    ),
    // Not below the prime, and with the top bit set.
    prime,
    Buffer.from(pairOf('x25519', 3).publicKey).fill(0x89, 31),
  ],
  p256: [
    Buffer.alloc(65),
    Buffer.alloc(65, 4),
    Buffer.concat([Buffer.of(6), point.subarray(1)]),
    Buffer.concat([compressed, Buffer.alloc(32)]),
    flipped(point, 100),
  ],
} as const;

/** Guarantees one refusal for points of low order, off the curve or in another encoding, wherever one is given. */
test.for(['x25519', 'p256'] as const)('points that are refused, %s', async (kem) => {
  const suite = hpkeSuite(kem, 'aes-256-gcm');
  const [recipient, sender] = [pairOf(kem, 3), pairOf(kem, 4)];
  const whole = await sealTo(suite, { recipient: recipientOf(kem, recipient), sender, info, aad, plaintext });
  const opening = {
    recipient,
    senderPublicKey: sender.publicKey,
    info,
    aad,
    enc: aad,
    ciphertext: aad,
    ...whole,
  };
  expect(hexOf(await openFrom(suite, opening))).toBe(hexOf(plaintext));
  for (const bad of weak[kem]) {
    expect(await openFrom(suite, { ...opening, enc: bad })).toBeUndefined();
    expect(await openFrom(suite, { ...opening, senderPublicKey: bad })).toBeUndefined();
    const to = recipientOf(kem, { ...recipient, publicKey: bad });
    expect(await sealTo(suite, { recipient: to, info, aad, plaintext })).toBeUndefined();
  }
});

/** Guarantees that messages open in turn alone, and that a refused one takes no place. */
test('messages of a context', async () => {
  const suite = hpkeSuite('x25519', 'aes-256-gcm');
  const pair = pairOf('x25519', 3);
  const sending = await setupSender(suite, { recipient: recipientOf('x25519', pair), info });
  const context = sending?.context;
  const messages = [0, 1, 2].map((number) => context?.seal(aad, Buffer.of(number)) ?? aad);
  expect(new Set(messages.map(hexOf)).size).toBe(3);
  const receiving = await setupRecipient(suite, { recipient: pair, enc: sending?.enc ?? aad, info });
  const open = (at: number) => hexOf(receiving?.open(aad, messages[at] ?? aad));
  expect([open(1), open(0), open(0), open(2), open(1), open(2)]).toEqual([
    ...[undefined, '00', undefined],
    ...[undefined, '01', '02'],
  ]);
});

/** Guarantees that a context ends before a nonce could come a second time. */
test('the last message of a context', () => {
  const suite = hpkeSuite('x25519', 'chacha20-poly1305');
  const scheduled = () => schedule(suite, { sharedSecret: Buffer.alloc(32, 9), info, authenticated: false });
  const sending = senderContext(scheduled(), sequenceLimit - 1);
  const receiving = recipientContext(scheduled(), sequenceLimit - 1);
  const last = sending.seal(aad, plaintext);
  expect(hexOf(receiving.open(aad, last))).toBe(hexOf(plaintext));
  expect(() => sending.seal(aad, plaintext)).toThrow('no message left');
  expect(() => receiving.open(aad, last)).toThrow('no message left');
});

/** Guarantees that what a suite does not have is a defect of the caller, not a refusal of input. */
test('what a suite does not have', async () => {
  const exportOnly = hpkeSuite('p256', 'export-only');
  const pair = pairOf('p256', 3);
  const made = await setupSender(exportOnly, { recipient: recipientOf('p256', pair), info });
  expect(() => made?.context.seal(aad, plaintext)).toThrow(RangeError);
  expect(() => made?.context.export(aad, 8161)).toThrow(RangeError);
  expect(made?.context.export(aad, 8160)).toHaveLength(8160);
  for (const short of [
    { ...psk, psk: Buffer.alloc(31) },
    { ...psk, pskId: Buffer.alloc(0) },
  ])
    await expect(
      setupSender(exportOnly, { recipient: recipientOf('p256', pair), info, psk: short }),
    ).rejects.toThrow(RangeError);
  for (const kem of ['x-wing', 'ml-kem-768'] as const) {
    const own = pairOf(kem, 3);
    const suite = hpkeSuite(kem, 'aes-256-gcm');
    const sealing = { recipient: recipientOf(kem, own), info, sender: own };
    await expect(setupSender(suite, sealing)).rejects.toThrow(RangeError);
    const opening = { recipient: own, info, enc: aad, senderPublicKey: own.publicKey };
    await expect(setupRecipient(suite, opening)).rejects.toThrow(RangeError);
  }
});
