import { createHmac } from 'node:crypto';
import { parseExact } from '../../../src/core/exact-json.ts';
import { checkSchema } from '../../../src/crypto/fields/check-schema.ts';
import type { FieldCiphers } from '../../../src/crypto/fields/ciphers.ts';
import { compileSchema, type Schema } from '../../../src/crypto/fields/compile.ts';
import type { Work } from '../../../src/crypto/fields/documents.ts';
import { keyBytesOf, keyContext, keyLabels, prepareKey } from '../../../src/crypto/fields/keyring.ts';
import { type KeySource, loadKeyring } from '../../../src/crypto/fields/load-keyring.ts';
import { nodeCiphers } from '../../../src/crypto/fields/node-ciphers.ts';
import { portableCiphers } from '../../../src/crypto/fields/portable-ciphers.ts';
import type { SchemaDefinition } from '../../../src/crypto/fields/schema.ts';
import { deriveCounterMode } from '../../../src/crypto/kdf.ts';

/** Both implementations of what field encryption is made of. */
export const everyCiphers = [
  { name: 'node:crypto', ciphers: nodeCiphers },
  { name: 'JavaScript', ciphers: portableCiphers },
] as const;

export const hexOf = (bytes: Uint8Array | undefined): string | undefined =>
  bytes && Buffer.from(bytes).toString('hex');

/** A namespace with field keys whose versions are numbered from 1: what the service's HSM and store are elsewhere. */
export function testKeys(ciphers: FieldCiphers, namespaceId = '018f0000-0000-7000-8000-0000000000aa') {
  const counts = new Map<string, number>();
  const idOf = (key: string, ordinal: number) =>
    `018f0000-0000-7000-8000-${Buffer.from(key.padEnd(5).slice(0, 5)).toString('hex')}${String(ordinal).padStart(2, '0')}`;
  const source: KeySource = {
    async version(key, asked) {
      const count = counts.get(key) ?? 1;
      const all = Array.from({ length: count }, (_, index) => ({
        id: idOf(key, index + 1),
        ordinal: index + 1,
      }));
      if (asked === undefined) return all.at(-1);
      return all.find(({ id, ordinal }) => asked === id || asked === ordinal);
    },
    async prepared(key, version, slot) {
      const place = { namespaceId, versionId: version.id };
      const secret = createHmac('sha256', 'a secret of tests').update(`${key} ${version.ordinal}`).digest();
      const derived = await deriveCounterMode(
        async (data) => new Uint8Array(createHmac('sha256', secret).update(data).digest()),
        { label: keyLabels[slot.purpose], context: keyContext(place, slot), bytes: keyBytesOf(slot.purpose) },
      );
      return prepareKey(ciphers, { slot, place }, derived);
    },
  };
  return {
    source,
    rotate: (key: string) => counts.set(key, (counts.get(key) ?? 1) + 1),
    async run<Result>(work: Work<Result>): Promise<Result> {
      return work.run(await loadKeyring(work.needs, source));
    },
  };
}

export type TestKeys = ReturnType<typeof testKeys>;

export const schemaId = '018f0000-0000-7000-8000-0000000000bb';

export function compiled(definition: SchemaDefinition, id = schemaId): Schema {
  const faults = checkSchema(definition);
  if (faults.length > 0) throw new Error(JSON.stringify(faults));
  return compileSchema(id, definition);
}

/** A number as it is written. */
export const rawNumber = (text: string): unknown => parseExact(text);
