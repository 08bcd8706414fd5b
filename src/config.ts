import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { z } from 'zod';
import { type PostgresServer, parseDatabaseUrl } from './core/database-url.ts';
import { parseSubnets, type Subnet } from './core/subnets.ts';
import { parseListen, settings } from './settings.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Config {
  readonly listen: { readonly host: string; readonly port: number };
  readonly dataDir: string;
  readonly database: DatabaseConfig;
  readonly hsm: HsmConfig;
  /** Another token of this node. */
  readonly secondHsm: HsmConfig | undefined;
  readonly tls: TlsConfig | undefined;
  readonly allowCleartext: boolean;
  readonly logLevel: string;
  readonly region: string;
  readonly jobs: { readonly concurrency: number; readonly retentionMilliseconds: number };
  readonly lifecycle: { readonly leastWindowSeconds: number; readonly retentionCheckSeconds: number };
  readonly rotation: { readonly rate: number; readonly minimumSeconds: number };
  readonly events: { readonly subnets: readonly Subnet[]; readonly retentionMilliseconds: number };
  readonly maxConnections: number;
  readonly admission: AdmissionConfig;
  readonly processes: number;
  readonly hungAfterMs: number;
  readonly maxStaleMs: number;
  readonly shutdownMs: number;
}

export interface HsmConfig {
  readonly module: string;
  readonly tokenLabel: string;
  readonly pinFile: string;
  /** Absent: as the module has it. */
  readonly wrapMechanism?: number;
  readonly handleLimit: number;
  readonly maxQueued: number;
  /** SoftHSM's private configuration; absent for other modules. */
  readonly softhsmConf?: string;
}

/** Whole numbers; a rate of 0 is none. */
interface AdmissionConfig {
  readonly concurrent: number;
  readonly waiting: number;
  readonly waitMs: number;
  readonly callerRate: number;
  readonly namespaceRate: number;
}

interface TlsConfig {
  readonly certFile: string;
  readonly keyFile: string;
  readonly classicalClients: 'served' | 'refused';
}

export type DatabaseConfig = SqliteConfig | PostgresConfig;

interface SqliteConfig {
  readonly kind: 'sqlite';
  readonly file: string;
}

/** What it reads from files throws ConfigError where they cannot be read. */
interface PostgresConfig extends PostgresServer {
  readonly kind: 'postgres';
  readonly passwordFile?: string;
}

/** A setting that cannot be used; its text names the variable and what it must be, never the value. */
export class ConfigError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ConfigError';
  }
}

/** @throws ConfigError naming every variable that is wrong or unknown */
export function readConfig(environment: Environment): Config {
  const given = Object.fromEntries(
    Object.entries(environment).filter(
      ([name, value]) => isSetting(name) && value !== undefined && value !== '',
    ),
  );
  const parsed = z.strictObject(settings).safeParse(given);
  if (!parsed.success) {
    throw new ConfigError(
      parsed.error.issues
        .map((issue) =>
          issue.code === 'unrecognized_keys'
            ? `${issue.keys.join(', ')}: no such setting`
            : `${issue.path.join('.')}: ${issue.message}`,
        )
        .join('\n'),
    );
  }
  const values = parsed.data;
  if ((values.STATHERA_TLS_CERT_FILE === undefined) !== (values.STATHERA_TLS_KEY_FILE === undefined)) {
    throw new ConfigError(
      'STATHERA_TLS_CERT_FILE and STATHERA_TLS_KEY_FILE belong together: set both or none',
    );
  }
  const dataDir = resolve(values.STATHERA_DATA_DIR);
  const { hsm, secondHsm } = tokensOf(values, dataDir);
  const { STATHERA_TLS_CERT_FILE: certFile, STATHERA_TLS_KEY_FILE: keyFile } = values;
  return {
    listen: parseListen(values.STATHERA_LISTEN) ?? { host: '127.0.0.1', port: 8300 },
    dataDir,
    database: databaseOf(values, dataDir),
    ...{ hsm, secondHsm },
    tls:
      certFile !== undefined && keyFile !== undefined
        ? { certFile, keyFile, classicalClients: values.STATHERA_TLS_CLASSICAL_CLIENTS }
        : undefined,
    allowCleartext: values.STATHERA_ALLOW_CLEARTEXT,
    logLevel: values.STATHERA_LOG_LEVEL,
    region: values.STATHERA_REGION,
    jobs: {
      concurrency: values.STATHERA_JOBS_CONCURRENCY,
      retentionMilliseconds: values.STATHERA_JOBS_RETENTION_HOURS * 3_600_000,
    },
    lifecycle: {
      leastWindowSeconds: values.STATHERA_DESTRUCTION_MIN_SECONDS,
      retentionCheckSeconds: values.STATHERA_RETENTION_CHECK_SECONDS,
    },
    rotation: {
      rate: values.STATHERA_ROTATION_RATE,
      minimumSeconds: values.STATHERA_ROTATION_MIN_SECONDS,
    },
    events: {
      subnets: parseSubnets(values.STATHERA_WEBHOOK_ADDRESSES ?? '') ?? [],
      retentionMilliseconds: values.STATHERA_EVENTS_RETENTION_HOURS * 3_600_000,
    },
    maxConnections: values.STATHERA_MAX_CONNECTIONS,
    admission: {
      concurrent: values.STATHERA_MAX_CONCURRENT,
      waiting: values.STATHERA_MAX_WAITING,
      waitMs: values.STATHERA_MAX_WAIT_MS,
      callerRate: values.STATHERA_CALLER_RATE,
      namespaceRate: values.STATHERA_NAMESPACE_RATE,
    },
    processes: values.STATHERA_PROCESSES || asManyAsCores(),
    hungAfterMs: values.STATHERA_HUNG_SECONDS * 1000,
    maxStaleMs: values.STATHERA_MAX_STALENESS_MS,
    shutdownMs: values.STATHERA_SHUTDOWN_SECONDS * 1000,
  };
}

/** Two even on one core: while one is replaced, another answers. */
function asManyAsCores(): number {
  return Math.min(16, Math.max(2, availableParallelism()));
}

type Values = z.output<z.ZodObject<typeof settings>>;

function tokensOf(values: Values, dataDir: string): Pick<Config, 'hsm' | 'secondHsm'> {
  const { STATHERA_PKCS11_WRAP_MECHANISM: wrapMechanism } = values;
  const token = (module: string, tokenLabel: string, folder: string, pinFile: string | undefined) => ({
    ...{ module, tokenLabel, pinFile: pinFile ?? join(dataDir, folder, 'pin') },
    ...(wrapMechanism !== undefined && { wrapMechanism }),
    handleLimit: values.STATHERA_HSM_HANDLES,
    maxQueued: values.STATHERA_HSM_QUEUE,
    ...(basename(module).startsWith('libsofthsm2.') && {
      softhsmConf: join(dataDir, folder, 'softhsm2.conf'),
    }),
  });
  const module = values.STATHERA_PKCS11_MODULE ?? findSoftHsm();
  const hsm = token(module, values.STATHERA_PKCS11_TOKEN_LABEL, 'hsm', values.STATHERA_PKCS11_PIN_FILE);
  const { STATHERA_PKCS11_SECOND_TOKEN_LABEL: second, STATHERA_PKCS11_SECOND_PIN_FILE: secondPin } = values;
  const { STATHERA_PKCS11_SECOND_MODULE: secondModule = module } = values;
  if (second === undefined) {
    if (secondPin === undefined && values.STATHERA_PKCS11_SECOND_MODULE === undefined)
      return { hsm, secondHsm: undefined };
    throw new ConfigError(
      'STATHERA_PKCS11_SECOND_PIN_FILE, STATHERA_PKCS11_SECOND_MODULE: set STATHERA_PKCS11_SECOND_TOKEN_LABEL too',
    );
  }
  if (second === hsm.tokenLabel)
    throw new ConfigError('STATHERA_PKCS11_SECOND_TOKEN_LABEL: must be another than the first token’s');
  return { hsm, secondHsm: token(secondModule, second, 'hsm-second', secondPin) };
}

interface DatabaseValues {
  readonly STATHERA_DATABASE_URL?: string | undefined;
  readonly STATHERA_DATABASE_PASSWORD_FILE?: string | undefined;
  readonly STATHERA_DATABASE_CA_FILE?: string | undefined;
  readonly STATHERA_DATABASE_CONNECTIONS: number;
  readonly STATHERA_DATABASE_ALLOW_CLEARTEXT: boolean;
}

function databaseOf(values: DatabaseValues, dataDir: string): DatabaseConfig {
  const { STATHERA_DATABASE_PASSWORD_FILE: passwordFile, STATHERA_DATABASE_CA_FILE: caFile } = values;
  const url = parseDatabaseUrl(values.STATHERA_DATABASE_URL ?? `sqlite:${join(dataDir, 'stathera.db')}`);
  if (url === undefined || 'file' in url) return { kind: 'sqlite', file: url?.file ?? '' };
  const { password, tls, local, ...place } = url;
  if (!tls && !local && !values.STATHERA_DATABASE_ALLOW_CLEARTEXT) {
    throw new ConfigError(
      'STATHERA_DATABASE_URL: keys and passwords would cross the network in clear: ' +
        'leave sslmode=disable out, or set STATHERA_DATABASE_ALLOW_CLEARTEXT=1',
    );
  }
  if (password !== undefined && passwordFile !== undefined) {
    throw new ConfigError('STATHERA_DATABASE_URL, STATHERA_DATABASE_PASSWORD_FILE: one password is enough');
  }
  return {
    kind: 'postgres',
    ...place,
    ...(password !== undefined && { password: () => password }),
    ...(passwordFile !== undefined && {
      passwordFile,
      password: () => read('STATHERA_DATABASE_PASSWORD_FILE', passwordFile).replace(/\r?\n$/, ''),
    }),
    ...(tls && { tls: caFile === undefined ? {} : { ca: () => read('STATHERA_DATABASE_CA_FILE', caFile) } }),
    connections: values.STATHERA_DATABASE_CONNECTIONS,
  };
}

/** @throws ConfigError */
function read(setting: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    throw new ConfigError(`${setting}: the file cannot be read`);
  }
}

const clientSettings = ['STATHERA_URL', 'STATHERA_TOKEN_FILE'];

/** Variables of the tests and of the command line's client are not settings of the service. */
function isSetting(name: string): boolean {
  return name.startsWith('STATHERA_') && !name.startsWith('STATHERA_TEST_') && !clientSettings.includes(name);
}

/** SoftHSM's module where distributions and Homebrew put it. */
function findSoftHsm(): string {
  const name = 'softhsm/libsofthsm2.so';
  const roots = ['/usr/lib', '/usr/local/lib', '/opt/homebrew/lib', '/usr/lib64', '/usr/lib/pkcs11'];
  const multiarch = existsSync('/usr/lib')
    ? readdirSync('/usr/lib').filter((entry) => entry.includes('-linux-'))
    : [];
  const places = [...roots, ...multiarch.map((entry) => join('/usr/lib', entry))].map((root) =>
    join(root, name),
  );
  const found = [...places, '/usr/lib/pkcs11/libsofthsm2.so', '/usr/lib64/pkcs11/libsofthsm2.so'].find(
    existsSync,
  );
  if (found !== undefined) return found;
  throw new ConfigError(
    'STATHERA_PKCS11_MODULE: no SoftHSM was found; install it (Debian: apt-get install softhsm2, ' +
      'macOS: brew install softhsm) or set the path of your PKCS#11 module',
  );
}
