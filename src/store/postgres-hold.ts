import pg from 'pg';
import { ServiceError } from '../core/errors.ts';
import { advisory } from './dialects.ts';
import {
  clientConfig,
  cut,
  type PostgresSettings,
  secureSession,
  sqlState,
  unavailable,
} from './postgres-connections.ts';

/** One service's hold on its database. */
export interface Hold {
  /** Resolves while the hold is there, or when it could be taken anew. @throws store/unavailable */
  ready(): Promise<void>;
  release(): Promise<void>;
}

const lookMilliseconds = 2_000;

/**
 * Keeps every other service from the database for as long as this process lives: an advisory lock on a
 * connection of its own, which the server gives up with the connection. When that breaks, nothing is done with
 * the database until the lock was taken anew.
 * @param name of this connection, different from every other's
 * @throws store/unavailable when another service has the database, and what a connection throws
 */
export async function holdDatabase(settings: PostgresSettings, name: string): Promise<Hold> {
  let held: pg.Client | undefined;
  let taking: Promise<void> | undefined;
  let released = false;

  async function take(): Promise<void> {
    const client = new pg.Client(clientConfig(settings, name));
    client.on('error', () => undefined);
    client.on('end', () => {
      if (held === client) held = undefined;
    });
    try {
      await client.connect();
      await secureSession(client, settings);
      // The server may not have noticed yet that our last connection is gone.
      await client.query(
        `select pg_terminate_backend(pid, ${lookMilliseconds}) from pg_stat_activity
         where application_name = $1 and usename = current_user and datname = current_database()
           and pid <> pg_backend_pid()`,
        [name],
      );
      await client.query(`select pg_advisory_lock(${advisory.service})`);
      if (released) throw new Error('released meanwhile');
      held = client;
    } catch (error) {
      cut(client);
      throw sqlState(error) === '55P03' ? taken(error) : error;
    }
  }

  async function ready(): Promise<void> {
    if (held) return;
    if (released) throw unavailable(new Error('the store is closed'));
    taking ??= take().finally(() => {
      taking = undefined;
    });
    await taking;
  }

  async function look(): Promise<void> {
    const client = held;
    try {
      if (client) await client.query(`select 1`);
      else await ready();
    } catch {
      if (held === client) held = undefined;
      if (client) cut(client);
    }
  }

  await ready();
  const looking = setInterval(() => void look(), lookMilliseconds).unref();
  return {
    ready,
    async release() {
      released = true;
      clearInterval(looking);
      const client = held;
      held = undefined;
      if (!client) return;
      const late = setTimeout(() => cut(client), lookMilliseconds);
      await client.end().catch(() => undefined);
      clearTimeout(late);
    },
  };
}

function taken(cause: unknown): ServiceError {
  return new ServiceError(
    'store/unavailable',
    'Another Stathera service uses this database: stop it first. One service a database is all there can be yet.',
    { cause, retryAfterSeconds: 1 },
  );
}
