import { type Command, InvalidArgumentError } from 'commander';
import { scopes } from '../access/scopes.ts';
import type { Client, Token } from '../client/index.ts';
import { collectText, withExamples } from './options.ts';
import { print, table } from './output.ts';
import type { Surroundings } from './surroundings.ts';

interface CreateOptions {
  readonly scope: string[];
  readonly key?: string[];
  readonly expires?: string;
  readonly namespace?: string;
  readonly out?: string;
}

export function addTokenCommands(program: Command, { client }: Surroundings): void {
  const tokens = program.command('tokens').description('manage the tokens of people and services');
  addCreate(tokens, client);

  const list = tokens
    .command('list')
    .description('list tokens, without their secrets')
    .action(async (_options, command: Command) => {
      const items = await Array.fromAsync((await client()).listTokens.all());
      print(command, { items }, () => table([headings, ...items.map((token) => row(token, Date.now()))]));
    });
  withExamples(list, 'stathera tokens list');

  const revoke = tokens
    .command('revoke')
    .description('end tokens at once and for ever')
    .argument('<id...>', 'ids, as `tokens list` shows them')
    .action(async (ids: string[], _options, command: Command) => {
      const service = await client();
      for (const id of ids) {
        await service.revokeToken({ id });
        print(command, { revoked: id }, () => [`revoked ${id}`]);
      }
    });
  withExamples(revoke, 'stathera tokens revoke 0190a3c2-7d1e-7000-8000-4b1f6b8f2c11');
}

function addCreate(tokens: Command, client: Surroundings['client']): void {
  const create = tokens
    .command('create')
    .description('make a token; its secret is shown once: on stdout, or in the file of --out')
    .argument('<name>', 'whom or what it is for')
    .requiredOption(
      '-s, --scope <scope>',
      `what it may, repeated for each of: ${scopes.join(', ')}`,
      collectText,
    )
    .option(
      '--key <pattern>',
      'only keys of this name, or of names that begin with it: payments*; may be repeated',
      collectText,
    )
    .option('--expires <when>', '90d, 12h, or a date such as 2027-01-31 (default: never)', expiry)
    .option('--namespace <name>', 'a namespace other than that of your token (needs service:admin)')
    .option('-o, --out <file>', 'write the secret to this new file, which only you may read')
    .action(async (name: string, options: CreateOptions, command: Command) => {
      const { createToken } = await import('./make-token.ts');
      const { scope, key, expires, namespace, out } = options;
      const request = {
        name,
        // What a scope may be is the service's to say.
        scopes: scope as Parameters<Client['createToken']>[0]['scopes'],
        ...(key && { keys: key }),
        ...(expires !== undefined && { expiresAt: expires }),
        ...(namespace !== undefined && { namespace }),
      };
      const { secret, ...token } = await createToken(await client(), request, out);
      if (out === undefined) print(command, { ...token, secret }, () => [secret]);
      else
        print(command, { ...token, file: out }, () => [
          `made ${token.name} (${token.id}), its secret is in ${out}`,
        ]);
    });
  withExamples(
    create,
    "stathera tokens create checkout -s keys:encrypt -s keys:decrypt --key 'payments*' --expires 90d -o checkout.token",
    'stathera tokens create auditor -s audit:read --expires 2027-01-31 -o auditor.token',
  );
}

const unitMs: Readonly<Record<string, number>> = { h: 3_600_000, d: 86_400_000 };

/** @returns RFC 3339. @throws InvalidArgumentError */
export function expiry(text: string): string {
  const [, count, unit = ''] = /^(\d{1,5})([hd])$/.exec(text) ?? [];
  const at = count === undefined ? dateOf(text) : Date.now() + Number(count) * (unitMs[unit] ?? 0);
  if (Number.isNaN(at))
    throw new InvalidArgumentError('must be like 90d, 12h, 2027-01-31 or 2027-01-31T12:00:00Z');
  if (at <= Date.now()) throw new InvalidArgumentError('is over already');
  return new Date(at).toISOString();
}

/** Of a day, its end: UTC. */
function dateOf(text: string): number {
  if (/^\d{4}-\d\d-\d\d$/.test(text)) return Date.parse(`${text}T23:59:59.999Z`);
  return /^\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d)$/.test(text) ? Date.parse(text) : Number.NaN;
}

const headings = ['NAME', 'STATE', 'EXPIRES', 'SCOPES', 'KEYS', 'ID'];

function row(token: Token, now: number): string[] {
  const { name, id, scopes: allowed, keys, expiresAt, revokedAt } = token;
  const expired = expiresAt !== undefined && Date.parse(expiresAt) <= now;
  const state = revokedAt !== undefined ? 'revoked' : expired ? 'expired' : 'valid';
  return [name, state, expiresAt ?? '-', allowed.join(','), keys?.join(',') ?? '*', id];
}
