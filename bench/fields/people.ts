// What the benches of fields seal: documents of ten fields, and keys that are ready.
import { createHmac } from 'node:crypto';
import { type Keyring, keyBytesOf, prepareKey } from '../../src/crypto/fields/keyring.ts';
import { nodeCiphers as ciphers } from '../../src/crypto/fields/node-ciphers.ts';
import type { SchemaDefinition } from '../../src/crypto/fields/schema.ts';

const fieldNames: readonly string[] = Array.from({ length: 10 }, (_, index) => `field${index}`);

/** The first of them are randomized. */
export const randomizedFields = 6;

export const benchDefinition: SchemaDefinition = {
  key: 'people',
  fields: fieldNames.map((name, index) => ({
    name,
    path: `/person/${name}`,
    treatment: index < randomizedFields ? ('randomized' as const) : ('deterministic' as const),
  })),
  indexes: [
    { name: 'by-first', member: 'index', bits: 32, fields: [{ name: 'field0', normalize: ['trim'] }] },
  ],
};

export function textsOf(row: number): string[] {
  return fieldNames.map((name, index) => `${name} of person ${row * 7 + index}`);
}

export function documentsOf(count: number): object[] {
  return Array.from({ length: count }, (_, row) => ({
    person: Object.fromEntries(textsOf(row).map((text, index) => [fieldNames[index] ?? '', text])),
  }));
}

/** Every key, made when it is first asked for. */
export function benchKeyring(): Keyring {
  const version = { id: '018f0000-0000-7000-8000-000000000001', ordinal: 1 };
  const place = { namespaceId: '018f0000-0000-7000-8000-0000000000aa', versionId: version.id };
  const known = new Map<string, ReturnType<typeof prepareKey>>();
  return {
    current: () => version,
    version: () => version,
    prepared(_, slot) {
      const ready = known.get(slot.id);
      if (ready) return ready;
      const key = createHmac('sha512', 'bench')
        .update(slot.id)
        .digest()
        .subarray(0, keyBytesOf(slot.purpose));
      const made = prepareKey(ciphers, { slot, place }, key);
      known.set(slot.id, made);
      return made;
    },
  };
}
