// Commits rows until it is killed; tells each acknowledged number on stdout. Argument: the database file.
import { writeSync } from 'node:fs';
import { newId, serviceNamespaceId } from '../../src/core/ids.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';

const store = openSqliteStore({ file: process.argv[2] ?? '' });
const row = { namespace_id: serviceNamespaceId, token_label: 'child' };

for (let number = 1; ; number += 1) {
  // Two rows a transaction: half of it would be seen.
  await store.transaction(async (tx) => {
    await tx
      .insertInto('roots')
      .values({ ...row, id: newId(), created_at: number })
      .execute();
    await tx
      .insertInto('roots')
      .values({ ...row, id: newId(), created_at: number })
      .execute();
  });
  writeSync(1, `${number}\n`);
}
