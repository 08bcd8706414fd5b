// Makes keys and versions through the service's own modules: keys of the HSM wrapped under the namespace's KEK,
// rows with their MACs, a real ciphertext for each version. Over HTTP each would be a request, a durable audit
// record and a durable reservation of uses: minutes for what a bench needs before it begins. So the log of a
// seeded directory knows nothing of these keys, and none of their uses is reserved.
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { readConfig } from '../../src/config.ts';
import { systemClock } from '../../src/core/clock.ts';
import { newId } from '../../src/core/ids.ts';
import { createMessages } from '../../src/envelope/messages.ts';
import { openPkcs11Hsm } from '../../src/hsm/pkcs11/adapter.ts';
import { asCipher, versionFromRow } from '../../src/keys/key.ts';
import { openSystemKeys } from '../../src/keys/system-keys.ts';
import { createVersionMaker, insertVersions } from '../../src/keys/versions.ts';
import { createSchedules } from '../../src/rotation/schedules.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import { type Seeded, type SeedPlan, seededFile } from './seed.ts';

const algorithm = 'aes-256-gcm';
const plaintext = new Uint8Array(32).fill(7);
/** Made at a time: enough for the HSM's queues, and one transaction each. */
const atATime = 500;
const progressMilliseconds = 5_000;

const plan = JSON.parse(process.argv[2] ?? '') as SeedPlan;
const config = readConfig(process.env);
const hsm = await openPkcs11Hsm(config.hsm);
const store = openSqliteStore({ file: join(config.dataDir, 'stathera.db') });
const systemKeys = await openSystemKeys({ hsm, store });
const schedules = createSchedules({ store, rows: systemKeys.rows });
const makeVersion = createVersionMaker({ hsm, systemKeys, clock: systemClock });
const messages = createMessages(hsm);
const { id: namespaceId } = await store.db.selectFrom('namespaces').select('id').executeTakeFirstOrThrow();

interface Wanted {
  readonly key: { readonly id: string; readonly name: string };
  readonly ordinal: number;
  /** The key's row is there before its first version, and names its last. */
  readonly named: boolean;
}

function wantedOf({ keys, versions }: SeedPlan): Wanted[] {
  return Array.from({ length: keys }, (_, index) => ({ id: newId(), name: `key-${index}` })).flatMap((key) =>
    Array.from({ length: versions }, (_, at) => ({
      key,
      ordinal: at + 1,
      named: at === 0 || at + 1 === versions,
    })),
  );
}

function sealKeyRow({ id, name }: Wanted['key'], versionId: string, ordinal: number) {
  const now = systemClock.now();
  return systemKeys.rows.seal('keys', {
    ...{
      id,
      name,
      algorithm,
      namespace_id: namespaceId,
      purpose: 'encrypt',
      protection: 'hsm',
      exportable: 0,
    },
    ...{ state: 'enabled' as const, description: '', tags: '{}', created_at: now, updated_at: now },
    ...{ current_version_id: versionId, current_ordinal: ordinal, revision: ordinal },
    data_key_reuse: null,
    origin: null,
    rotate_after: null,
  });
}

/** Due since then, and every 90 days. */
function scheduleRow(keyId: string, dueAt: number) {
  return schedules.make({
    ...{ keyId, namespaceId, source: 'key', policy: { everyDays: 90 }, paused: false, now: dueAt },
    due: { dueAt, actAt: dueAt },
  });
}

/** Stores the versions and their keys. @returns a ciphertext of each */
async function make(group: readonly Wanted[]): Promise<Seeded[]> {
  const made = await Promise.all(
    group.map(async ({ key, ordinal, named }) => {
      const version = await makeVersion({ id: key.id, namespaceId, algorithm }, ordinal);
      const row = named ? await sealKeyRow(key, version.id, ordinal) : undefined;
      const due = plan.dueAt !== undefined && ordinal === 1;
      return { version, row, schedule: due ? await scheduleRow(key.id, plan.dueAt) : undefined };
    }),
  );
  await store.transaction(async (tx) => {
    for (const { version, row, schedule } of made) {
      if (row !== undefined) {
        const insert = tx.insertInto('keys').values(row);
        await insert.onConflict((conflict) => conflict.column('id').doUpdateSet(row)).execute();
      }
      await insertVersions(tx, [version]);
      if (schedule) await tx.insertInto('rotation_schedules').values(schedule).execute();
    }
  });
  const kek = await systemKeys.activeKek(namespaceId);
  return await Promise.all(
    made.map(async ({ version }, index) => {
      const found = store.db.selectFrom('key_versions').selectAll().where('id', '=', version.id);
      const ready = asCipher(versionFromRow(await found.executeTakeFirstOrThrow(), kek));
      const sealed = await messages.seal(ready, { kind: 'message', plaintext, context: {} });
      return { key: group[index]?.key.name ?? '', ciphertext: Buffer.from(sealed).toString('base64') };
    }),
  );
}

const wanted = wantedOf(plan);
const output = createWriteStream(join(config.dataDir, seededFile));
let told = performance.now();
for (let done = 0; done < wanted.length; done += atATime) {
  for (const seeded of await make(wanted.slice(done, done + atATime)))
    output.write(`${JSON.stringify(seeded)}\n`);
  if (performance.now() - told < progressMilliseconds) continue;
  told = performance.now();
  process.send?.(`made ${done + atATime} of ${wanted.length}`);
}
await finished(output.end());
await store.close();
await hsm.close();
process.disconnect();
