// Writes to a log, in the first slot that is free, until it is killed; tells each acknowledged id on stdout.
// Arguments: the place's root.
import { createHmac, createSecretKey } from 'node:crypto';
import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { openAuditLog } from '../../src/audit/log.ts';
import { systemClock } from '../../src/core/clock.ts';
import { newId } from '../../src/core/ids.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';

const root = process.argv[2] ?? '';
const key = createSecretKey(Buffer.alloc(32, 7));
const store = openSqliteStore({ file: join(root, 'stathera.db') });
const log = await openAuditLog({
  directory: join(root, 'audit'),
  store,
  mac: async (data) => createHmac('sha256', key).update(data).digest(),
  clock: systemClock,
  limits: { segmentBytes: 20_000, stallMilliseconds: 10_000, adoptMilliseconds: 200 },
});

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
    if (changes) {
      await log.change(entry, async (tx) => {
        const row = { id, namespace_id: entry.namespaceId, token_label: 'test', created_at: 1 };
        await tx.insertInto('roots').values(row).execute();
      });
    } else {
      await log.append(entry);
    }
    writeSync(1, `${id}\n`);
  }
}

await Promise.all([
  ...Array.from({ length: 12 }, () => loop(false)),
  ...Array.from({ length: 4 }, () => loop(true)),
]);
