import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Adapters } from '../../adapters.ts';
import type { Config } from '../../config.ts';
import { ServiceError } from '../../core/errors.ts';
import { bootstrapTokenFile, bootstrapTokenName } from '../../initialize.ts';
import { migrations, schemaNumber } from '../../store/migrations.ts';
import type { Store } from '../../store/store.ts';
import { checkEnrolment, checkSecondEnrolment } from './enrolment.ts';
import { type Finding, failed, ok, warning } from './finding.ts';
import { dateOf, detailOf } from './text.ts';

/** The operator's backup touches this file with the time it began: docs/operate.md, Backup and restore. */
const backupMarker = 'last-backup';

export async function checkDatabase(
  config: Config,
  adapters: Pick<Adapters, 'openStore'>,
  rootId?: string,
  secondRootId?: string,
): Promise<Finding[]> {
  const { database } = config;
  const name =
    database.kind === 'sqlite' ? database.file : `PostgreSQL, ${database.database} at ${database.host}`;
  try {
    if (database.kind === 'sqlite' && !existsSync(database.file)) {
      throw new ServiceError('store/unavailable', 'is not there');
    }
    const store = await adapters.openStore(database, { readonly: true });
    try {
      const migrated = await schemaNumber(store.db);
      const isOld = (migrated ?? 0) < (migrations.at(-1)?.number ?? 0);
      return [
        ok(
          'database',
          `${name}, migration ${migrated}${isOld ? ': the next start brings it up to date' : ''}`,
        ),
        ...(rootId === undefined || isOld ? [] : [await checkEnrolment(store, rootId)]),
        ...(secondRootId === undefined || isOld ? [] : await checkSecondEnrolment(store, secondRootId)),
        await checkBootstrapToken(config, store),
        await checkBackups(config, store),
      ];
    } finally {
      await store.close();
    }
  } catch (error) {
    const next =
      database.kind === 'sqlite'
        ? 'check STATHERA_DATA_DIR, its file system and who may read it; if it is lost, restore a backup'
        : 'check STATHERA_DATABASE_URL and the server; a new database is filled by `stathera init`';
    return [failed('database', `${name}: ${detailOf(error)}`, next)];
  }
}

/** The first token holds every right: it is for making others, and no longer. */
async function checkBootstrapToken(config: Config, store: Store): Promise<Finding> {
  const check = 'bootstrap token';
  const file = bootstrapTokenFile(config);
  const valid = await store.db
    .selectFrom('tokens')
    .select('id')
    .where('name', '=', bootstrapTokenName)
    .where('revoked_at', 'is', null)
    .executeTakeFirst();
  if (valid !== undefined) {
    const text = existsSync(file)
      ? `${file} holds every right`
      : 'it holds every right, and its file may be copied';
    return warning(
      check,
      text,
      `make tokens for people and services, revoke ${valid.id} and delete its file`,
    );
  }
  return existsSync(file)
    ? warning(check, `${file} is there, and its token revoked`, 'delete the file')
    : ok(check, 'revoked, and its file deleted');
}

/** A key that was made after the last backup is lost with this machine. */
async function checkBackups({ dataDir }: Config, store: Store): Promise<Finding> {
  const next = 'back up as docs/operate.md says, its last step included';
  const marker = statSync(join(dataDir, backupMarker), { throwIfNoEntry: false });
  if (marker === undefined) return warning('backups', 'none is noted here', next);
  const begun = marker.mtimeMs;
  const { made } = await store.db
    .selectFrom('key_versions')
    .select((row) => row.fn.countAll<number>().as('made'))
    .where('created_at', '>', begun)
    .executeTakeFirstOrThrow();
  return made > 0
    ? warning('backups', `${made} versions of keys were made since the last one, of ${dateOf(begun)}`, next)
    : ok(
        'backups',
        `noted for ${dateOf(begun)}, no key was made since; whether it can be restored is yours to try`,
      );
}
