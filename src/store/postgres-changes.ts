import pg from 'pg';
import { ServiceError } from '../core/errors.ts';
import { type ChangeFeed, type Changes, changesPage, readPages } from './changes.ts';
import { changesChannel as channel, postgresDialect } from './dialects.ts';
import {
  clientConfig,
  cut,
  type PostgresSettings,
  secureSession,
  unavailable,
} from './postgres-connections.ts';

/**
 * PostgreSQL gives out numbers in another order than it commits. So a change takes its number under a lock that ends
 * with its transaction, and after it is visible: whoever has read number n has everything before n.
 */
export function postgresChanges(settings: PostgresSettings, name: string): Changes {
  return {
    record: postgresDialect.recordChange,
    follow: () => follow(settings, `${name} changes`),
  };
}

interface Row {
  readonly oldest: number | null;
  readonly revision: number | null;
  readonly subjects: string | null;
}

/** One connection, which listens as well; when it breaks, the next read takes another and goes on where it was. */
async function follow(settings: PostgresSettings, name: string): Promise<ChangeFeed> {
  let client: pg.Client | undefined;
  let listener: () => void = () => undefined;
  let closed = false;

  async function connect(): Promise<pg.Client> {
    const next = new pg.Client(clientConfig(settings, name));
    next.on('error', () => undefined);
    next.on('notification', () => listener());
    next.on('end', () => {
      if (client !== next) return;
      client = undefined;
      listener();
    });
    try {
      await next.connect();
      await secureSession(next, settings);
      await next.query(`listen ${channel}`);
    } catch (error) {
      cut(next);
      throw error;
    }
    if (closed) cut(next);
    client = next;
    return next;
  }

  async function ask<T>(query: (client: pg.Client) => Promise<T>): Promise<T> {
    if (closed) throw unavailable(new Error('the store is closed'));
    let used = client;
    try {
      used ??= await connect();
      return await query(used);
    } catch (error) {
      // What it would say next nobody knows.
      if (used) cut(used);
      if (client === used) client = undefined;
      throw error instanceof ServiceError ? error : unavailable(error);
    }
  }

  let cursor = await ask(async (asked) => {
    const { rows } = await asked.query<{ newest: number }>(
      'select coalesce(max(revision), 0) as newest from changes',
    );
    return rows[0]?.newest ?? 0;
  });

  const page = (from: number) =>
    ask(async (asked) => {
      const { rows } = await asked.query<Row>({
        name: 'stathera-changes',
        text: `select (select min(revision) from changes) as oldest, revision, subjects
          from (select 1) as always left join
            (select revision, subjects from changes where revision > $1 order by revision limit ${changesPage})
            as found on true order by revision`,
        values: [from],
      });
      const found = rows.flatMap(({ revision, subjects }) =>
        revision === null || subjects === null ? [] : [{ revision, subjects }],
      );
      return { oldest: rows[0]?.oldest ?? null, rows: found };
    });

  return {
    pollMilliseconds: 125,
    async read() {
      const found = await readPages(cursor, page);
      cursor = found.cursor;
      return found;
    },
    onAnnounced(call) {
      listener = call;
    },
    async close() {
      closed = true;
      const last = client;
      client = undefined;
      if (!last) return;
      const late = setTimeout(() => cut(last), 2_000);
      await last.end().catch(() => undefined);
      clearTimeout(late);
    },
  };
}
