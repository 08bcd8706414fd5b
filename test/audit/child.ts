// Writes to a log, in the first slot that is free, until it is killed; tells each acknowledged id on stdout.
// Arguments: the place's root, or the URL of a PostgreSQL database.
import { createHmac, createSecretKey } from 'node:crypto';
import { writeSync } from 'node:fs';
import { join } from 'node:path';
import type { AuditLog } from '../../src/audit/audit.ts';
import type { AuditEntry } from '../../src/audit/entry.ts';
import { openAuditLog } from '../../src/audit/log.ts';
import { systemClock } from '../../src/core/clock.ts';
import { isServiceError } from '../../src/core/errors.ts';
import { newId } from '../../src/core/ids.ts';
import { openPostgresStore } from '../../src/store/postgres.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import { postgresSettings } from '../support/postgres.ts';

const root = process.argv[2] ?? '';
const key = createSecretKey(Buffer.alloc(32, 7));
const store = root.startsWith('postgres:')
  ? await openPostgresStore(postgresSettings(root))
  : openSqliteStore({ file: join(root, 'stathera.db') });
const log = await openAuditLog({
  directory: join(root, 'audit'),
  store,
  mac: async (data) => createHmac('sha256', key).update(data).digest(),
  clock: systemClock,
  limits: {
    segmentBytes: 20_000,
    stallMilliseconds: 10_000,
    adoptMilliseconds: 200,
    silentMilliseconds: 3_000,
  },
});

async function write(to: AuditLog, entry: AuditEntry, changes: boolean): Promise<void> {
  if (!changes) return await to.append(entry);
  await to.change(entry, async (tx) => {
    const row = { id: entry.id, namespace_id: entry.namespaceId, token_label: 'test', created_at: 1 };
    await tx.insertInto('roots').values(row).execute();
  });
}

async function loop(changes: boolean): Promise<void> {
  for (;;) {
    const id = newId();
    const entry = {
      id,
      time: Date.now(),
      namespaceId: '0190a0c0-0000-7000-8000-000000000001',
      requestId: id,
      principal: { kind: 'system' as const },
      action: changes ? 'keys.create' : 'envelope.encrypt',
      outcome: 'allowed' as const,
    };
    try {
      await write(log, entry, changes);
    } catch (error) {
      // One that was stopped finds its connections ended, and goes on when it has another slot.
      if (!isServiceError(error, 'audit/unavailable') && !isServiceError(error, 'store/unavailable'))
        throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
      continue;
    }
    writeSync(1, `${id}\n`);
  }
}

await Promise.all([
  ...Array.from({ length: 12 }, () => loop(false)),
  ...Array.from({ length: 4 }, () => loop(true)),
]);
