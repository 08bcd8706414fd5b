import { z } from 'zod';
import { parseDatabaseUrl } from './core/database-url.ts';
import { file, flag, mechanism, whole } from './core/setting-forms.ts';
import { parseSubnets } from './core/subnets.ts';

const label = z
  .string()
  .min(1)
  .refine((value) => Buffer.byteLength(value) <= 32, { error: 'must be at most 32 bytes' });

/**
 * Every setting: an environment variable, its default and its bounds. docs/configuration.md shows the same
 * table, and a test holds the two together.
 */
export const settings = {
  STATHERA_LISTEN: z
    .string()
    .default('127.0.0.1:8300')
    .refine((value) => parseListen(value) !== undefined, {
      error: 'must be HOST:PORT, an IPv6 host in brackets',
    })
    .describe('Address and port of the interface; port 0 takes any free one'),
  STATHERA_DATA_DIR: z
    .string()
    .min(1)
    .default('./data')
    .describe('Directory of everything the service keeps'),
  STATHERA_DATABASE_URL: z
    .string()
    .refine((value) => parseDatabaseUrl(value) !== undefined, {
      error:
        'must be sqlite:PATH or postgres://USER[:PASSWORD]@HOST[:PORT]/DATABASE, with ?sslmode=verify-full or disable',
    })
    .optional()
    .describe('Database; default `sqlite:` and `stathera.db` in the data directory'),
  STATHERA_DATABASE_PASSWORD_FILE: file.describe('File with the password of PostgreSQL’s user'),
  STATHERA_DATABASE_CA_FILE: file.describe(
    'PEM certificates that PostgreSQL’s is trusted by; default those of Node',
  ),
  STATHERA_DATABASE_CONNECTIONS: whole('10', 2, 200).describe(
    'Connections to PostgreSQL at most, but for two',
  ),
  STATHERA_DATABASE_ALLOW_CLEARTEXT: flag.describe('1 lets a PostgreSQL that is not loopback go without TLS'),
  STATHERA_MAX_STALENESS_MS: whole('500', 50, 10_000).describe(
    'How long a process goes on without having seen what others changed in the database',
  ),
  STATHERA_PKCS11_MODULE: file.describe('PKCS#11 module; default SoftHSM where the system has it'),
  STATHERA_PKCS11_TOKEN_LABEL: label.default('stathera').describe('Label of the token'),
  STATHERA_PKCS11_PIN_FILE: file.describe('File with the user PIN; default `hsm/pin` in the data directory'),
  STATHERA_PKCS11_WRAP_MECHANISM: mechanism.describe(
    'CKM number of AES-KWP (RFC 5649); default as the module has it',
  ),
  STATHERA_PKCS11_SECOND_TOKEN_LABEL: label
    .optional()
    .describe('Label of a second token, used by half of the processes, and by all when the first is away'),
  STATHERA_PKCS11_SECOND_PIN_FILE: file.describe(
    'File with its user PIN; default `hsm-second/pin` in the data directory',
  ),
  STATHERA_PKCS11_SECOND_MODULE: file.describe('Its PKCS#11 module; default that of the first'),
  STATHERA_HSM_HANDLES: whole('10000', 16, 100_000).describe(
    'Unwrapped keys held in the token at once; 8.5 KB each in SoftHSM',
  ),
  STATHERA_HSM_QUEUE: whole('8192', 64, 1_000_000).describe('Operations waiting for the HSM at most'),
  STATHERA_TLS_CERT_FILE: file.describe(
    'PEM certificate chain; with the key file the listener speaks TLS 1.3',
  ),
  STATHERA_TLS_KEY_FILE: file.describe('PEM private key'),
  STATHERA_TLS_CLASSICAL_CLIENTS: z
    .enum(['served', 'refused'], { error: 'must be served or refused' })
    .default('served')
    .describe('What a client without the post-quantum group X25519MLKEM768 gets'),
  STATHERA_ALLOW_CLEARTEXT: flag.describe('1 lets a listener that is not loopback go without TLS'),
  STATHERA_LOG_LEVEL: z
    .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
    .default('info')
    .describe('Lowest level logged to stderr'),
  STATHERA_REGION: z
    .string()
    .regex(/^[a-z0-9][a-z0-9._-]{0,62}$/)
    .default('local')
    .describe('Region of namespaces made here'),
  STATHERA_JOBS_CONCURRENCY: whole('2', 0, 64).describe('Chunks of jobs at work at once; 0: none here'),
  STATHERA_JOBS_RETENTION_HOURS: whole('168', 1, 87_600).describe('How long finished jobs can be seen'),
  STATHERA_DESTRUCTION_MIN_SECONDS: whole('604800', 1, 2_592_000).describe(
    'Least time between a destruction’s being scheduled and its being done; less than 7 days is for tests',
  ),
  STATHERA_RETENTION_CHECK_SECONDS: whole('3600', 1, 86_400).describe(
    'How often it is looked at which superseded versions of keys are past their retention',
  ),
  STATHERA_ROTATION_RATE: whole('1200', 0, 100_000).describe(
    'Rotations by date a second of one process at most; 0: none here',
  ),
  STATHERA_ROTATION_MIN_SECONDS: whole('3600', 1, 2_592_000).describe(
    'Shortest period that a rotation policy may have',
  ),
  STATHERA_WEBHOOK_ADDRESSES: z
    .string()
    .refine((value) => parseSubnets(value) !== undefined, {
      error: 'must be subnets such as 10.1.0.0/16 or fd00::/8, separated by commas',
    })
    .optional()
    .describe('Subnets that webhooks may be in besides public addresses; those of loopback need no TLS'),
  STATHERA_EVENTS_RETENTION_HOURS: whole('720', 1, 87_600).describe('How long events can be read'),
  STATHERA_MAX_CONNECTIONS: whole('2000', 1, 1_000_000).describe('Open connections at most'),
  STATHERA_MAX_CONCURRENT: whole('256', 1, 100_000).describe('Requests at work at most; more wait'),
  STATHERA_MAX_WAITING: whole('1024', 0, 100_000).describe('Requests waiting at most; more are answered 503'),
  STATHERA_MAX_WAIT_MS: whole('250', 1, 10_000).describe(
    'Milliseconds a request waits at most; then it is answered 503',
  ),
  STATHERA_CALLER_RATE: whole('0', 0, 1_000_000).describe(
    'Requests a second of one token; more are answered 429; 0 is no limit',
  ),
  STATHERA_NAMESPACE_RATE: whole('0', 0, 1_000_000).describe('The same of all tokens of one namespace'),
  STATHERA_PROCESSES: whole('0', 0, 64).describe(
    'Processes that serve; 0: as many as cores, 2 to 16; 1: without a supervisor',
  ),
  STATHERA_HUNG_SECONDS: whole('10', 1, 600).describe(
    'A process that gives no sign of life for so long is killed and replaced',
  ),
  STATHERA_SHUTDOWN_SECONDS: whole('15', 0, 600).describe(
    'How long requests in progress may take at shutdown',
  ),
} as const;

export function parseListen(text: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  return host === undefined || port > 65_535 ? undefined : { host, port };
}
