import { parse, stringify, v7, validate, version } from 'uuid';
import { publicRandom } from './random.ts';

let lastMs = 0;
let sequence = 0;

/**
 * A new id in its text form: UUIDv7 (RFC 9562 §5.7), later ones of a process sort after earlier ones, also
 * when the clock is set back (§6.2, method 1). Every request makes two, so its random bits come from the pool.
 */
export function newId(): string {
  const now = Date.now();
  if (now > lastMs) {
    lastMs = now;
    sequence = new DataView(publicRandom(4).buffer).getUint32(0) >>> 1;
  } else {
    sequence += 1;
  }
  return v7({ random: publicRandom(16), msecs: lastMs, seq: sequence });
}

/** True for the text form of any UUIDv7; names may not look like this. */
export function isId(text: string): boolean {
  return validate(text) && version(text) === 7;
}

/** The 16 bytes of an id. */
export function idBytes(id: string): Uint8Array {
  return parse(id);
}

/** The text form of 16 bytes; throws RangeError when they are no UUID. */
export function idFromBytes(bytes: Uint8Array): string {
  return stringify(bytes);
}

/** The nil UUID: the namespace of what belongs to the service itself. */
export const serviceNamespaceId = '00000000-0000-0000-0000-000000000000';
