import { afterAll, beforeAll, expect, test } from 'vitest';
import { versionFromRow } from '../../src/keys/key.ts';
import { openSeed } from '../../src/keys/sealed-seed.ts';
import type { KeyVersionRow } from '../../src/store/schema.ts';
import { base64, driver } from '../envelope/support.ts';
import { freshDataDir, removeDirectory } from '../support/data.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { type Inside, inside } from './support.ts';

// Rows that somebody moved who can even have them authenticated anew: the seal itself must hold them in place.

const plaintext = Buffer.from('sealed in its place');
const sealedBytes = 60;

interface Subject {
  readonly name: string;
  readonly id: string;
  readonly ciphertext: Buffer;
  readonly token?: string;
}

type Row = Omit<KeyVersionRow, 'mac'>;
type Change = (row: Row, others: Readonly<Record<'whole' | 'older' | 'elsewhere', Row>>) => Partial<Row>;

const seedOf = (blob: Uint8Array) => blob.subarray(-sealedBytes);
const wrappedOf = (blob: Uint8Array) => blob.subarray(0, -sealedBytes);

/** By the name of a key: what of its newest version's row is replaced, also by what another row holds. */
const moves: Record<string, Change> = {
  'from another key': (_, { whole }) => ({ blob: whole.blob }),
  'from another version': (_, { older }) => ({ blob: older.blob }),
  'from another namespace': (_, { elsewhere: { blob, kek_id } }) => ({ blob, kek_id }),
  'seed alone': ({ blob }, { whole }) => ({ blob: Buffer.concat([wrappedOf(blob), seedOf(whole.blob)]) }),
  'sealing key alone': ({ blob }, { whole }) => ({
    blob: Buffer.concat([wrappedOf(whole.blob), seedOf(blob)]),
  }),
  'of another algorithm': () => ({ algorithm: 'xchacha20-poly1305' }),
  'of the token': () => ({ algorithm: 'aes-256-gcm', protection: 'hsm' }),
  'without its seed': ({ blob }) => ({ blob: wrappedOf(blob) }),
  'cut to nothing': () => ({ blob: new Uint8Array(0) }),
  'a bit turned': ({ blob }) => {
    const turned = Buffer.from(blob);
    turned[turned.length - 30] = (turned.at(-30) ?? 0) ^ 1;
    return { blob: turned };
  },
};

let dataDir: string;
let service: TestService;
let calls: ReturnType<typeof driver>;
const subjects = new Map<string, Subject>();

const nameOf = (title: string) => title.replaceAll(' ', '-');

async function make(name: string, token?: string): Promise<void> {
  const options = token === undefined ? {} : { token };
  const { id } = await calls.createKey(name, { algorithm: 'chacha20-poly1305' }, options);
  // So that each has an older version.
  await calls.must('POST', `/v1/keys/${name}/rotate`, {}, options);
  const ciphertext = await calls.encrypt(name, plaintext, {}, options);
  subjects.set(name, { name, id, ciphertext, ...(token !== undefined && { token }) });
}

async function rowOf({ store }: Inside, name: string, ordinal = 2): Promise<KeyVersionRow> {
  const id = subjects.get(name)?.id ?? '';
  const ofKey = store.db.selectFrom('key_versions').selectAll().where('key_id', '=', id);
  return await ofKey.where('ordinal', '=', ordinal).executeTakeFirstOrThrow();
}

/** Writes the change with a MAC that holds. */
async function move(parts: Inside, name: string, change: Change): Promise<void> {
  const { store, rows } = parts;
  const { mac: _, ...row } = await rowOf(parts, name);
  const others = {
    whole: await rowOf(parts, 'whole'),
    older: await rowOf(parts, name, 1),
    elsewhere: await rowOf(parts, 'elsewhere'),
  };
  const next = await rows.seal('key_versions', { ...row, ...change(row, others) });
  await store.db.updateTable('key_versions').set(next).where('id', '=', row.id).execute();
}

beforeAll(async () => {
  dataDir = await freshDataDir();
  service = await startTestService({ dataDir });
  calls = driver({ ...service, call: (...parameters) => service.call(...parameters) });
  await calls.must('POST', '/v1/access/namespaces', { name: 'elsewhere' });
  const scopes = ['keys:admin', 'keys:encrypt', 'keys:decrypt'];
  await make('elsewhere', await calls.createToken({ scopes, namespace: 'elsewhere' }));
  for (const name of ['whole', 'mislabelled', ...Object.keys(moves).map(nameOf)]) await make(name);
  await service.stop();
  await inside(dataDir, async (parts) => {
    for (const [title, change] of Object.entries(moves)) await move(parts, nameOf(title), change);
    await move(parts, 'mislabelled', () => ({ protection: 'hsm' }));
  });
  service = await startTestService({ dataDir });
});
afterAll(async () => {
  await service.dispose();
  await removeDirectory(dataDir);
});

async function answers(name: string): Promise<unknown[]> {
  const { ciphertext = Buffer.alloc(0) } = subjects.get(name) ?? {};
  const opened = await service.call('POST', '/v1/decrypt', { ciphertext: base64(ciphertext) });
  const sealed = await service.call('POST', `/v1/keys/${name}/encrypt`, { plaintext: '' });
  return [opened, sealed].map(({ body, status }) => body['code'] ?? status);
}

/** Guarantees that what was left alone works: a move is what is refused below. */
test('seeds in their places open', async () => {
  expect(await answers('whole')).toEqual([200, 200]);
  const { ciphertext = Buffer.alloc(0), token = '' } = subjects.get('elsewhere') ?? {};
  expect(await calls.decrypt(ciphertext, {}, { token })).toEqual(plaintext);
});

/** Guarantees that a seed opens for its own version, key, namespace and algorithm alone, and nothing is encrypted else. */
test.each(Object.keys(moves))('a seed %s', async (title) => {
  expect(await answers(nameOf(title))).toEqual(['envelope/decryption-failed', 'internal']);
});

/** Guarantees that a row which says its secret lies elsewhere than its algorithm has it is not used. */
test('another protection than the algorithm’s', async () => {
  expect(await answers('mislabelled')).toEqual(['internal', 'internal']);
});

/** Guarantees that a seed is 32 random bytes, and stands nowhere in the row that holds it. */
test('seeds are sealed', async () => {
  await service.stop();
  const seeds = await inside(dataDir, async (parts) => {
    const { hsm, systemKeys } = parts;
    const opened = [];
    for (const ordinal of [1, 2]) {
      const row = await rowOf(parts, 'whole', ordinal);
      const seed = await openSeed(hsm, versionFromRow(row, await systemKeys.kek(row.kek_id)));
      expect(row.blob).toHaveLength(40 + sealedBytes);
      expect(Buffer.from(row.blob).includes(Buffer.from(seed.subarray(0, 8)))).toBe(false);
      opened.push(Buffer.from(seed).toString('hex'));
    }
    return opened;
  });
  expect(seeds.every((seed) => /^[0-9a-f]{64}$/.test(seed))).toBe(true);
  expect(new Set(seeds).size).toBe(2);
});
