import type { Socket } from 'node:net';
import { callbackify } from 'node:util';
import pg from 'pg';
import type { PostgresServer } from '../core/database-url.ts';
import { ServiceError } from '../core/errors.ts';
import { fromStored, toStored } from './postgres-values.ts';

export interface PostgresSettings extends PostgresServer {
  /** For tools that only look: nothing is changed, and no service is kept out. */
  readonly readonly?: boolean;
}

/** How long each thing may take. What the server ends by itself comes first: its answer says more. */
const patience = {
  connectMilliseconds: 3_000,
  lockMilliseconds: 3_000,
  statementMilliseconds: 4_000,
  answerMilliseconds: 4_500,
  /** A service that is gone without a word must not hold locks. */
  idleInTransactionMilliseconds: 10_000,
  closeMilliseconds: 2_000,
  lifetimeSeconds: 3_600,
} as const;

/** What a connection of the service is; `name` tells the server who it is. */
export function clientConfig(settings: PostgresSettings, name: string): pg.ClientConfig {
  const { host, tls } = settings;
  const session = {
    // The server notices a client that vanished, and with it what it held, after some 25 s.
    ...{ tcp_keepalives_idle: '10', tcp_keepalives_interval: '5', tcp_keepalives_count: '3' },
    default_transaction_read_only: settings.readonly ? 'on' : 'off',
  };
  return {
    host,
    port: settings.port,
    database: settings.database,
    user: settings.user,
    password: settings.password,
    ssl: tls && {
      ...(tls.ca && { ca: tls.ca() }),
      // Without it the certificate of an address would be held against `localhost`.
      ...{ host, rejectUnauthorized: true, minVersion: 'TLSv1.2' as const },
    },
    application_name: name,
    connectionTimeoutMillis: patience.connectMilliseconds,
    lock_timeout: patience.lockMilliseconds,
    statement_timeout: patience.statementMilliseconds,
    query_timeout: patience.answerMilliseconds,
    idle_in_transaction_session_timeout: patience.idleInTransactionMilliseconds,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    types: { getTypeParser: fromStored as pg.CustomTypesConfig['getTypeParser'] },
    options: Object.entries(session)
      .map(([key, value]) => `-c ${key}=${value}`)
      .join(' '),
  };
}

interface ServerState {
  readonly version: number;
  readonly encoding: string;
  readonly standby: boolean;
  readonly fsync: string;
  readonly full_page_writes: string;
  readonly synchronous_commit: string;
}

const oldestVersion = 14;

/**
 * Sees to it that a commit on this connection is durable. `remote_apply` promises more than `on` and stays.
 * @throws Error whose text says what to do
 */
export async function secureSession(client: pg.ClientBase, { readonly }: PostgresSettings): Promise<void> {
  const { rows } = await client.query<ServerState>(`
    select current_setting('server_version_num')::integer / 10000 as version,
      current_setting('server_encoding') as encoding, pg_is_in_recovery() as standby,
      current_setting('fsync') as fsync, current_setting('full_page_writes') as full_page_writes,
      set_config('synchronous_commit', case current_setting('synchronous_commit')
        when 'remote_apply' then 'remote_apply' else 'on' end, false) as synchronous_commit`);
  const state = rows[0];
  if (!state || state.version < oldestVersion)
    throw new Unfit(`it must be PostgreSQL ${oldestVersion} or later`);
  if (state.encoding !== 'UTF8') throw new Unfit('its encoding must be UTF8: create the database with it');
  if (readonly) return;
  if (state.standby) throw new Unfit('it is a standby: name the primary server');
  for (const name of ['fsync', 'full_page_writes'] as const) {
    if (state[name] !== 'on') throw new Unfit(`it may lose what it committed: set ${name} = on`);
  }
  if (!['on', 'remote_apply'].includes(state.synchronous_commit)) {
    throw new Unfit('it does not wait for its disk: allow synchronous_commit = on');
  }
}

/** A server or a database that answers and must not be used; its text is for the operator. */
class Unfit extends Error {
  readonly code = 'database-unfit';
}

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there: start PostgreSQL, or correct STATHERA_DATABASE_URL',
  ENOENT: 'there is no such socket: start PostgreSQL, or correct STATHERA_DATABASE_URL',
  ENOTFOUND: 'its name is not known: correct STATHERA_DATABASE_URL',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another host',
  '28000': 'it refuses the user: see its pg_hba.conf',
  '28P01': 'it refuses the password: see STATHERA_DATABASE_PASSWORD_FILE',
  '3D000': 'there is no such database: create it',
  '42501': 'the user may not do that: make it the owner of the database',
  '53300': 'it has no connection left: raise its max_connections',
};

/** Why a start failed, for the operator; PostgreSQL's own texts hold no password. */
export function refusedAtStart({ host, port, database }: PostgresSettings, error: unknown): ServiceError {
  const { code, message } = error as { code?: unknown; message?: string };
  const known = typeof code === 'string' ? reasons[code] : undefined;
  // pg's own words, when it was given none.
  const needsPassword = /password must be a (non-empty )?string/.test(message ?? '');
  const wanted = needsPassword ? 'it wants a password: see STATHERA_DATABASE_PASSWORD_FILE' : undefined;
  const reason = known ?? wanted ?? (message || (typeof code === 'string' ? code : 'it says nothing'));
  const place = `${database} at ${host.includes(':') ? `[${host}]` : host}:${port}`;
  return new ServiceError('store/unavailable', `The database ${place} cannot be used: ${reason}.`, {
    cause: error,
  });
}

export function unavailable(error: unknown): ServiceError {
  return new ServiceError('store/unavailable', 'The database cannot be used right now.', {
    cause: error,
    retryAfterSeconds: 1,
  });
}

/** The SQLSTATE of an error the server answered with; undefined for every other. */
export function sqlState(error: unknown): string | undefined {
  return error instanceof pg.DatabaseError ? error.code : undefined;
}

/** False after an error that leaves nobody who knows what the connection will say next. */
function isUsableAfter(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.severity === 'ERROR';
}

/** Errors of the database become typed ones; a violated constraint (class 23) passes unchanged. */
function typed(error: unknown): unknown {
  return sqlState(error)?.startsWith('23') ? error : unavailable(error);
}

/** Ends a connection now: one that is cut somewhere on its way has nobody left to say goodbye to. */
export function cut(client: pg.ClientBase): void {
  (client as unknown as { connection: { stream: Socket } }).connection.stream.destroy();
}

/** pg leaves a connection open that it cannot go on with, for want of a password: the server would wait for a minute. */
class ClosingClient extends pg.Client {
  override connect(): Promise<pg.Client>;
  override connect(connected: (error: Error | null, client?: pg.Client) => void): void;
  override connect(connected?: (error: Error | null, client?: pg.Client) => void): unknown {
    if (!connected) return super.connect();
    return super.connect((error: Error | null) => {
      if (error) cut(this);
      connected(error, this);
    });
  }
}

export type Result = pg.QueryResult<Record<string, unknown>>;

/** A connection while somebody has it. */
export interface Lease {
  query(text: string, values?: readonly unknown[]): Promise<Result>;
  /** A statement the server keeps under its name. */
  prepared(query: { name: string; text: string; values: readonly unknown[] }): Promise<Result>;
  /** Closes the connection at its release. */
  discard(): void;
  release(): void;
}

export interface Connections {
  /** @throws store/unavailable */
  connect(): Promise<Lease>;
  /** From now on nothing is asked; transactions that are open are rolled back. */
  refuse(reason: ServiceError): void;
  end(): Promise<void>;
}

/** A bounded pool. */
export function openConnections(settings: PostgresSettings, name: string): Connections {
  const open = new Set<pg.ClientBase>();
  let refusal: ServiceError | undefined;
  const pool = new pg.Pool({
    ...clientConfig(settings, name),
    Client: ClosingClient,
    max: settings.connections,
    idleTimeoutMillis: 60_000,
    maxLifetimeSeconds: patience.lifetimeSeconds,
    verify: (client, done) => {
      open.add(client);
      // Whoever has it at that moment gets the error as the answer to what is asked of it.
      client.on('error', () => undefined);
      callbackify(() => secureSession(client, settings))((error) => done(error ?? undefined));
    },
  });
  // A connection that broke while nobody had it: the pool has dropped it.
  pool.on('error', () => undefined);
  pool.on('remove', (client) => void open.delete(client));
  return {
    refuse(reason) {
      refusal = reason;
    },
    async connect() {
      try {
        return lease(await pool.connect(), () => refusal);
      } catch (error) {
        throw error instanceof ServiceError ? error : unavailable(error);
      }
    },
    async end() {
      if (pool.ending) return;
      const late = setTimeout(() => {
        for (const client of open) cut(client);
      }, patience.closeMilliseconds);
      await pool.end();
      clearTimeout(late);
    },
  };
}

/**
 * A commit that somebody cancels while it waits for a synchronous standby is answered as done, with a warning that it
 * may be nowhere but on the server's own disk. Whoever was told so must not take it for durable.
 */
const warning = '01000';

function lease(client: pg.PoolClient, refusal: () => ServiceError | undefined): Lease {
  let broken = false;
  let discarded = false;
  async function run(work: () => Promise<Result>): Promise<Result> {
    let doubt: Error | undefined;
    const onNotice = ({ code, message }: { code?: string | undefined; message?: string | undefined }) => {
      if (code === warning) doubt = new Error(message);
    };
    client.on('notice', onNotice);
    try {
      const result = await work();
      if (doubt) throw doubt;
      return result;
    } catch (error) {
      if (!isUsableAfter(error) && !broken) {
        broken = true;
        cut(client);
      }
      throw typed(error);
    } finally {
      client.off('notice', onNotice);
    }
  }
  return {
    query(text, values = []) {
      // The server rolls back by itself when its connection ends; the first error is the one that counts.
      if (broken && text === 'rollback')
        return Promise.resolve({ command: 'ROLLBACK', rows: [] } as unknown as Result);
      const refused = text === 'rollback' ? undefined : refusal();
      if (refused) return Promise.reject(refused);
      return run(() => client.query(text, values.map(toStored)));
    },
    prepared({ name, text, values }) {
      const refused = refusal();
      if (refused) return Promise.reject(refused);
      return run(() => client.query({ name, text, values: values.map(toStored) }));
    },
    discard: () => {
      discarded = true;
    },
    release: () => client.release(broken || discarded),
  };
}
