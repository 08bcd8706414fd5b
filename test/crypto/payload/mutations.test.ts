import { expect, test } from 'vitest';
import { bothCiphers, bytesOf, open, sealMessage, sealStream, wrappedOf } from './support.ts';
import { writtenSegments } from './written.ts';

const given = { dataKey: bytesOf('key', 32), associatedData: Buffer.from('table/row') };
const wrapped = wrappedOf('wrapped');
const headerBytes = 214;
const segment = 65_552;

/** Three segments, the last one short. */
const plaintext = bytesOf('plaintext', 2 * 65_536 + 1_000);

async function cut(stream: Buffer): Promise<{ header: Buffer; segments: Buffer[] }> {
  const body = stream.subarray(headerBytes);
  return {
    header: stream.subarray(0, headerBytes),
    segments: [body.subarray(0, segment), body.subarray(segment, 2 * segment), body.subarray(2 * segment)],
  };
}

/** Every change of a stream that its parts can be put to, by name. */
async function mutations(stream: Buffer, other: Buffer): Promise<[string, Buffer][]> {
  const { header, segments } = await cut(stream);
  const [first, second, last] = segments as [Buffer, Buffer, Buffer];
  const foreign = (await cut(other)).segments as [Buffer, Buffer, Buffer];
  const made: [string, Buffer][] = [
    ['first segment left out', Buffer.concat([header, second, last])],
    ['second segment left out', Buffer.concat([header, first, last])],
    ['last segment left out', Buffer.concat([header, first, second])],
    ['all segments left out', header],
    ['swapped', Buffer.concat([header, second, first, last])],
    ['last one first', Buffer.concat([header, last, first, second])],
    ['first repeated', Buffer.concat([header, first, first, second, last])],
    ['last repeated', Buffer.concat([header, first, second, last, last])],
    ['first segment of another stream', Buffer.concat([header, foreign[0], second, last])],
    ['last segment of another stream', Buffer.concat([header, first, second, foreign[2]])],
    ['header of another stream', Buffer.concat([other.subarray(0, headerBytes), first, second, last])],
    [
      'salt of another stream',
      Buffer.concat([
        header.subarray(0, 182),
        other.subarray(182, headerBytes),
        stream.subarray(headerBytes),
      ]),
    ],
    ['a byte behind', Buffer.concat([stream, Buffer.of(0)])],
    ['an empty segment behind', Buffer.concat([stream, Buffer.alloc(16)])],
    ['a byte before the segments', Buffer.concat([header, Buffer.of(0), first, second, last])],
  ];
  const borders = [headerBytes, headerBytes + segment, headerBytes + 2 * segment, stream.length];
  for (const border of borders) {
    for (const shift of [-17, -16, -1, 0, 1, 15, 16]) {
      const at = border + shift;
      if (at < stream.length) {
        const flipped = Buffer.from(stream);
        flipped[at] = (flipped[at] ?? 0) ^ 1;
        made.push([`bit of byte ${at} flipped`, flipped]);
        made.push([`cut off at ${at}`, stream.subarray(0, at)]);
        made.push([`byte ${at} left out`, Buffer.concat([stream.subarray(0, at), stream.subarray(at + 1)])]);
      }
    }
  }
  return made;
}

/** Guarantees that no change at the borders of segments, nor of their order and number, opens: not even to less. */
test.each(bothCiphers)('a changed stream does not open with %s', async (_, ciphers) => {
  const stream = await sealStream(ciphers, given, wrapped, { plaintext });
  const other = await sealStream(ciphers, given, wrapped, { plaintext });
  const made = await mutations(stream, other);
  expect(made.length).toBeGreaterThan(80);
  for (const [name, changed] of made) expect(await open(ciphers, given, changed), name).toBeUndefined();
  expect((await open(ciphers, given, stream))?.equals(plaintext)).toBe(true);
});

/** Guarantees the same of a stream that ends with a full segment: its end is known by more than its length. */
test.each(bothCiphers)('a stream of full segments does not open cut off with %s', async (_, ciphers) => {
  const whole = await sealStream(ciphers, given, wrapped, { plaintext: bytesOf('full', 2 * 65_536) });
  expect(whole).toHaveLength(headerBytes + 2 * segment);
  expect(await open(ciphers, given, whole.subarray(0, headerBytes + segment))).toBeUndefined();
  expect(await open(ciphers, given, Buffer.concat([whole, Buffer.alloc(16)]))).toBeUndefined();
});

/** Guarantees that every bit of a header that is not the wrapped data key's own counts. */
test.each(bothCiphers)('a changed header does not open with %s', async (_, ciphers) => {
  const stream = await sealStream(ciphers, given, wrapped, { plaintext: bytesOf('short', 10) });
  const message = Buffer.from(await sealMessage(ciphers, given, wrapped, bytesOf('short', 10)));
  for (const [sealed, end] of [
    [stream, stream.length],
    [message, message.length],
  ] as const) {
    for (let at = 0; at < end; at += 1) {
      // The service authenticates what lies in the wrapped data key besides its id.
      if (at >= 8 && at !== 9 && at < 150 && !(at >= 42 && at < 58)) continue;
      const changed = Buffer.from(sealed);
      changed[at] = (changed[at] ?? 0) ^ 0x80;
      expect(await open(ciphers, given, changed), `byte ${at}`).toBeUndefined();
    }
  }
});

/** Guarantees that nothing opens with another data key, or in another place. */
test.each(bothCiphers)('another key or place does not open with %s', async (_, ciphers) => {
  const sealed = [
    await sealStream(ciphers, given, wrapped, { plaintext: bytesOf('short', 10) }),
    await sealMessage(ciphers, given, wrapped, bytesOf('short', 10)),
  ];
  for (const bytes of sealed) {
    for (const wrong of [
      { ...given, dataKey: bytesOf('another key', 32) },
      { ...given, associatedData: Buffer.from('table/row2') },
      { ...given, associatedData: new Uint8Array() },
    ])
      expect(await open(ciphers, wrong, bytes)).toBeUndefined();
    expect(await open(ciphers, given, bytes)).toBeDefined();
  }
});

/** Guarantees that a message is no stream and a stream no message, whatever its kind is changed to. */
test.each(bothCiphers)('kinds are not exchanged with %s', async (_, ciphers) => {
  const message = Buffer.from(await sealMessage(ciphers, given, wrapped, bytesOf('short', 60)));
  const stream = await sealStream(ciphers, given, wrapped, { plaintext: bytesOf('short', 60) });
  message[3] = 3;
  stream[3] = 1;
  expect(await open(ciphers, given, message)).toBeUndefined();
  expect(await open(ciphers, given, stream)).toBeUndefined();
});

/** Guarantees that a plaintext has one stream of a length: an empty segment behind others is none, whoever made it. */
test.each(bothCiphers)('an empty last segment does not open with %s', async (_, ciphers) => {
  const full = bytesOf('full', 65_536);
  const salt = bytesOf('salt', 32);
  const make = (...segments: Uint8Array[]) => writtenSegments({ ...given, wrapped }, salt, segments);
  expect(await open(ciphers, given, make(full, new Uint8Array()))).toBeUndefined();
  expect((await open(ciphers, given, make(full)))?.equals(full)).toBe(true);
  expect(await open(ciphers, given, make(new Uint8Array()))).toHaveLength(0);
});
