/** Where the service's data is, as STATHERA_DATABASE_URL tells. */
export type DatabaseUrl =
  | { readonly file: string }
  | {
      /** A name, an address, or the directory of a UNIX socket. */
      readonly host: string;
      readonly port: number;
      readonly database: string;
      readonly user: string;
      readonly password?: string;
      readonly tls: boolean;
      /** What is said there stays on this machine. */
      readonly local: boolean;
    };

/** How to reach a PostgreSQL database: settings have it, and connections are made of it. */
export interface PostgresServer {
  /** A name, an address, or the directory of a UNIX socket. */
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  /** Asked at every connection, so that a password can be changed; absent: PGPASSFILE, or none. */
  readonly password?: () => string;
  /** Absent: in clear. The certificate must always be valid and for this host. */
  readonly tls?: { readonly ca?: () => string };
  /** Open at once at most. */
  readonly connections: number;
}

const defaultPort = 5432;

/** @returns undefined unless it is `sqlite:PATH` or `postgres://USER[:PASSWORD]@HOST[:PORT]/DATABASE[?sslmode=…]` */
export function parseDatabaseUrl(text: string): DatabaseUrl | undefined {
  if (text.startsWith('sqlite:'))
    return text.length > 'sqlite:'.length ? { file: text.slice('sqlite:'.length) } : undefined;
  try {
    return parsePostgres(new URL(text));
  } catch {
    return undefined;
  }
}

/** @throws URIError where a part is not well escaped */
function parsePostgres(url: URL): DatabaseUrl | undefined {
  if (url.protocol !== 'postgres:' && url.protocol !== 'postgresql:') return undefined;
  // An IPv6 address stands in brackets; a socket's directory is escaped: %2Frun%2Fpostgresql.
  const host = decodeURIComponent(url.hostname).replace(/^\[(.*)\]$/, '$1');
  const database = decodeURIComponent(url.pathname.slice(1));
  const user = decodeURIComponent(url.username);
  const { sslmode, ...others } = Object.fromEntries(url.searchParams);
  const known = sslmode === undefined || sslmode === 'verify-full' || sslmode === 'disable';
  if (!known || Object.keys(others).length > 0 || url.hash !== '') return undefined;
  if (host === '' || user === '' || database === '' || database.includes('/')) return undefined;
  const local = isLocal(host);
  return {
    ...{ host, port: url.port === '' ? defaultPort : Number(url.port), database, user },
    ...(url.password !== '' && { password: decodeURIComponent(url.password) }),
    ...{ tls: sslmode === undefined ? !local : sslmode === 'verify-full', local },
  };
}

function isLocal(host: string): boolean {
  return host.startsWith('/') || host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}
