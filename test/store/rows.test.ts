import { createHmac, createSecretKey } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { newId } from '../../src/core/ids.ts';
import { createRowAuthenticator } from '../../src/store/rows.ts';
import type { KeyRow, KeyVersionRow, TokenRow } from '../../src/store/schema.ts';

const key = createSecretKey(Buffer.alloc(32, 3));
const rows = createRowAuthenticator(async (data) => createHmac('sha256', key).update(data).digest());

const versionRow = (): Omit<KeyVersionRow, 'mac'> => ({
  ...{ id: newId(), namespace_id: newId(), key_id: newId(), ordinal: 3, algorithm: 'aes-256-gcm' },
  ...{ usage: 'encrypt', protection: 'hsm', exportable: 0, state: 'disabled', kek_id: newId() },
  ...{ public_key: null, blob: Uint8Array.of(1, 2, 3), origin: null },
  ...{ expires_at: null, created_at: 5, revision: 7 },
});

const altered = {
  code: 'internal',
  cause: expect.objectContaining({ message: expect.stringContaining('altered') }),
};

/** Guarantees that a row verifies as it was sealed, whatever order its columns come in. */
test('a sealed row verifies', async () => {
  const sealed = await rows.seal('key_versions', versionRow());
  await rows.verify('key_versions', sealed);
  const reversed = Object.fromEntries(Object.entries(sealed).toReversed()) as unknown as KeyVersionRow;
  await rows.verify('key_versions', reversed);
  expect(sealed.mac).toHaveLength(33);
  expect(sealed.mac[0]).toBe(1);
});

/** Guarantees that values of another type or a neighbouring value are not taken for the same. */
test('values of a row cannot be confused', async () => {
  const row = versionRow();
  const sealed = await rows.seal('key_versions', row);
  const changes: Partial<Record<keyof KeyVersionRow, unknown>>[] = [
    { public_key: new Uint8Array(0) },
    { public_key: '' },
    { public_key: 0 },
    { exportable: '0' },
    { exportable: null },
    { ordinal: 37, created_at: 5 },
    { blob: Uint8Array.of(1, 2) },
    { blob: '\u0001\u0002\u0003' },
    { usage: 'encryp', protection: 'thsm' },
    { kek_id: row.key_id, key_id: row.kek_id },
  ];
  for (const change of changes) {
    await expect(
      rows.verify('key_versions', { ...sealed, ...change } as KeyVersionRow),
      JSON.stringify(change),
    ).rejects.toMatchObject(altered);
  }
});

/** Guarantees that MACs cut short, empty, of an unknown layout or of another table are refused. */
test('other MACs are refused', async () => {
  const row = versionRow();
  const sealed = await rows.seal('key_versions', row);
  const macs = [
    new Uint8Array(0),
    Uint8Array.of(1),
    sealed.mac.subarray(0, 32),
    Uint8Array.from([0, ...sealed.mac.subarray(1)]),
    Uint8Array.from([2, ...sealed.mac.subarray(1)]),
    Uint8Array.from([...sealed.mac, 0]),
  ];
  for (const mac of macs) {
    await expect(rows.verify('key_versions', { ...sealed, mac })).rejects.toMatchObject(altered);
  }
  const usage = {
    version_id: newId(),
    namespace_id: newId(),
    reserved: 1,
    reserved_bytes: null,
    revision: 1,
  };
  const { mac } = await rows.seal('key_usage', usage);
  await rows.verify('key_usage', { ...usage, last_used_at: 99, mac });
  await expect(rows.verify('key_versions', { ...sealed, mac })).rejects.toMatchObject(altered);
  await expect(
    rows.verify('key_usage', { ...usage, last_used_at: null, mac: sealed.mac }),
  ).rejects.toMatchObject(altered);
});

/** Guarantees that a row in a later layout is refused as newer software's, so that a client may find a node that has it, and never taken for one of a known layout. */
test('a row of newer software', async () => {
  const sealed = await rows.seal('key_versions', versionRow());
  for (const layout of [3, 4, 255]) {
    const mac = Uint8Array.from([layout, ...sealed.mac.subarray(1)]);
    await expect(rows.verify('key_versions', { ...sealed, mac })).rejects.toMatchObject({
      ...{ code: 'store/unavailable', retryAfterSeconds: 1 },
      cause: expect.objectContaining({ code: 'newer-row/key_versions' }),
    });
  }
});

/** Guarantees that no text moved from one column into its neighbour gives the same MAC. */
test('columns are kept apart', async () => {
  const token: Omit<TokenRow, 'mac'> = {
    ...{ id: newId(), namespace_id: newId(), name: 'n', secret_hash: new Uint8Array(32), scopes: '[]' },
    ...{ key_patterns: null, created_at: 1, expires_at: null, revoked_at: null, revision: 1 },
  };
  // Two columns that stand beside each other in the layout.
  const seal = async (scopes: string, patterns: string) =>
    (await rows.seal('tokens', { ...token, scopes, key_patterns: patterns })).mac;
  // The byte that stands before a text, moved from between the columns into each of them.
  expect(await seal('a', 'b\u0001c')).not.toEqual(await seal('a\u0001b', 'c'));
  const text = fc.string({ maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(text, text, text, text, async (scopes, patterns, otherScopes, otherPatterns) => {
      const [one, two] = [await seal(scopes, patterns), await seal(otherScopes, otherPatterns)];
      const same = scopes === otherScopes && patterns === otherPatterns;
      expect(Buffer.from(one).equals(two)).toBe(same);
    }),
  );
});

/** Guarantees that a value that has no one encoding is refused rather than authenticated loosely. */
test('values that cannot be authenticated are refused', async () => {
  for (const ordinal of [1.5, Number.NaN, 2 ** 53, 1n, true, undefined, {}]) {
    const row = { ...versionRow(), ordinal } as unknown as Omit<KeyVersionRow, 'mac'>;
    await expect(rows.seal('key_versions', row)).rejects.toThrow(TypeError);
  }
});

const keyRow = (): Omit<KeyRow, 'mac'> => ({
  ...{ id: newId(), namespace_id: newId(), name: 'k', algorithm: 'aes-256-gcm', purpose: 'encrypt' },
  ...{ protection: 'hsm', exportable: 0, state: 'enabled', description: '', tags: '{}', revision: 1 },
  ...{
    current_version_id: newId(),
    current_ordinal: 1,
    created_at: 1,
    updated_at: 1,
    data_key_reuse: null,
    origin: null,
    rotate_after: null,
  },
});

/** Guarantees that a column added later is authenticated where it is set, and that older code reads rows without it. */
test('a column added later', async () => {
  const without = await rows.seal('keys', keyRow());
  expect(without.mac[0]).toBe(1);
  await rows.verify('keys', without);
  const reuse = '{"messages":10,"bytes":10,"seconds":10}';
  await expect(rows.verify('keys', { ...without, data_key_reuse: reuse })).rejects.toMatchObject(altered);
  const set = await rows.seal('keys', { ...keyRow(), data_key_reuse: reuse });
  expect(set.mac[0]).toBe(2);
  await rows.verify('keys', set);
  for (const other of [null, '', reuse.replace('10', '99')])
    await expect(rows.verify('keys', { ...set, data_key_reuse: other })).rejects.toMatchObject(altered);
  const relabelled = { ...set, mac: Uint8Array.from([1, ...set.mac.subarray(1)]) };
  await expect(rows.verify('keys', relabelled)).rejects.toMatchObject(altered);
});
