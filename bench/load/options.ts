// The options of the load command, checked before anything is sent.
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { awsStyle, type Style, statheraStyle, vaultStyle } from './styles.ts';

export const help = `Drives a key-management server and tells its rate and latencies.

  npm run bench:load -- --url URL --style STYLE --key NAME [options]

  --url URL            http:// or https://, host and port; nothing else is asked
  --style STYLE        stathera, vault (transit engine) or aws (KMS)
  --key NAME           the key to use; it must exist
  --operation NAME     encrypt or decrypt          (encrypt)
  --bytes N            length of the plaintext     (1024)
  --connections N      kept open, one request at a time on each  (64)
  --seconds N          measured, after a fifth of it unmeasured  (10)
  --token-file FILE    stathera and vault: the token on one line; else STATHERA_TOKEN_FILE or VAULT_TOKEN
  --region REGION      aws: else AWS_REGION        (us-east-1)

aws takes its credentials from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN. For a certificate
of your own authority, set NODE_EXTRA_CA_CERTS. The last line printed is JSON.
`;

/** Told to the user as it is; never with a secret in it. */
export class OptionError extends Error {}

export interface Options {
  readonly url: URL;
  readonly style: Style;
  readonly styleName: string;
  readonly operation: 'encrypt' | 'decrypt';
  readonly bytes: number;
  readonly connections: number;
  readonly seconds: number;
}

const whole = (text: string, max: number) =>
  z
    .string()
    .default(text)
    .refine((value) => /^\d{1,6}$/.test(value) && Number(value) >= 1 && Number(value) <= max, {
      error: `must be a whole number from 1 to ${max}`,
    })
    .transform(Number);

const required = (error: string) => z.string({ error }).min(1, { error });

const schema = z.object({
  url: required('is needed').refine(isServerUrl, {
    error: 'must be http:// or https:// with a host, and no user, path or query',
  }),
  style: z.enum(['stathera', 'vault', 'aws'], { error: 'must be stathera, vault or aws' }),
  key: required('is needed'),
  operation: z.enum(['encrypt', 'decrypt'], { error: 'must be encrypt or decrypt' }).default('encrypt'),
  bytes: whole('1024', 65_536),
  connections: whole('64', 10_000),
  seconds: whole('10', 86_400),
  'token-file': z.string().optional(),
  region: z
    .string()
    .regex(/^[a-z0-9-]+$/, { error: 'must be the name of a region' })
    .optional(),
});

const flags = {
  ...Object.fromEntries(Object.keys(schema.shape).map((name) => [name, { type: 'string' as const }])),
  help: { type: 'boolean' as const, short: 'h' },
};

/** @returns undefined when help is asked for. @throws OptionError */
export function readOptions(args: readonly string[], environment: NodeJS.ProcessEnv): Options | undefined {
  const given = parse(args);
  if (given['help'] === true) return undefined;
  const parsed = schema.safeParse(given);
  if (!parsed.success) {
    const lines = parsed.error.issues.map(({ path, message }) => `--${path.join('.')} ${message}`);
    throw new OptionError(lines.join('\n'));
  }
  const { style: styleName, url: text, key, operation, bytes, connections, seconds } = parsed.data;
  const url = new URL(text);
  const settings = { key, host: url.host };
  const token = () => readToken(parsed.data['token-file'], styleName, environment);
  const styles = {
    stathera: () => statheraStyle(settings, token()),
    vault: () => vaultStyle(settings, token()),
    aws: () => {
      const region = parsed.data.region ?? environment['AWS_REGION'] ?? 'us-east-1';
      return awsStyle({ ...settings, region }, awsCredentials(environment), Date.now);
    },
  };
  return { url, style: styles[styleName](), styleName, operation, bytes, connections, seconds };
}

function parse(args: readonly string[]): Record<string, unknown> {
  try {
    return parseArgs({ args: [...args], options: flags }).values;
  } catch (error) {
    // Says which argument is not known; may name what the user typed.
    throw new OptionError((error as Error).message);
  }
}

function isServerUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, pathname, search, hash } = new URL(text);
  const bare = username === '' && password === '' && pathname === '/' && search === '' && hash === '';
  return (protocol === 'http:' || protocol === 'https:') && bare;
}

function readToken(file: string | undefined, styleName: string, environment: NodeJS.ProcessEnv): string {
  const isVault = styleName === 'vault';
  const named = file ?? (isVault ? undefined : environment['STATHERA_TOKEN_FILE']);
  const token = named === undefined && isVault ? environment['VAULT_TOKEN'] : named && readLine(named);
  const instead = isVault ? 'VAULT_TOKEN' : 'STATHERA_TOKEN_FILE';
  if (token === undefined) throw new OptionError(`--token-file or ${instead} is needed`);
  if (!/^[\x21-\x7e]+$/.test(token))
    throw new OptionError('the token must be visible characters on one line');
  return token;
}

function readLine(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    throw new OptionError('the token file cannot be read');
  }
}

function awsCredentials(environment: NodeJS.ProcessEnv) {
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = environment;
  if (!accessKeyId || !secretAccessKey) {
    throw new OptionError('AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are needed');
  }
  return { accessKeyId, secretAccessKey, sessionToken: environment['AWS_SESSION_TOKEN'] };
}
