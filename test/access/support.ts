import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import pg from 'pg';
import type { Answer, TestService } from '../support/service.ts';

export const plaintext = Buffer.from('a message').toString('base64');

export interface TokenRequest {
  readonly scopes: readonly string[];
  readonly keys?: readonly string[];
  readonly namespace?: string;
  readonly expiresAt?: string;
}

export interface MadeToken {
  readonly id: string;
  readonly secret: string;
}

let made = 0;

/** A name no other test has. */
export function freshName(prefix = 'n'): string {
  made += 1;
  return `${prefix}-${made}`;
}

/** A token made with the bootstrap token. */
export async function makeToken(service: TestService, request: TokenRequest): Promise<MadeToken> {
  return created(await service.call('POST', '/v1/access/tokens', { name: freshName('token'), ...request }));
}

/** A key made with the bootstrap token, or another. @returns its id */
export async function makeKey(service: TestService, name: string, token = service.token): Promise<string> {
  return created(await service.call('POST', '/v1/keys', { name }, { token })).id;
}

/** A namespace and a token in it with these scopes. */
export async function makeNamespace(
  service: TestService,
  scopes: readonly string[],
): Promise<{ id: string; name: string; token: MadeToken }> {
  const name = freshName('namespace');
  const { id } = created(await service.call('POST', '/v1/access/namespaces', { name }));
  return { id, name, token: await makeToken(service, { scopes, namespace: name }) };
}

/** The body of a 201. @throws for any other status */
export function created(answer: Answer): MadeToken {
  if (answer.status !== 201) throw new Error(`expected 201: ${answer.status} ${answer.text}`);
  return { id: member(answer, 'id') ?? '', secret: member(answer, 'secret') ?? '' };
}

/** A text of an answer's body. */
export function member({ body }: Answer, name: string): string | undefined {
  const value: unknown = body[name];
  return typeof value === 'string' ? value : undefined;
}

export async function seal(
  service: TestService,
  key: string,
  { token = service.token, context = {} }: { token?: string; context?: Record<string, string> } = {},
): Promise<string> {
  const answer = await service.call('POST', `/v1/keys/${key}/encrypt`, { plaintext, context }, { token });
  if (answer.status !== 200) throw new Error(`expected 200: ${answer.status} ${answer.text}`);
  return member(answer, 'ciphertext') ?? '';
}

export interface AuditRecord {
  readonly requestId: string;
  readonly action: string;
  readonly outcome: string;
  readonly code?: string;
  readonly count?: number;
  readonly replayed?: boolean;
  readonly sequence: number;
  readonly principal: { readonly id?: string; readonly kind: string };
  readonly target?: { readonly id?: string; readonly name?: string; readonly version?: number };
  readonly items?: readonly unknown[];
}

/** Every record of the token's namespace that matches, newest first. */
export async function auditRecords(
  service: TestService,
  filter: Readonly<Record<string, string>> = {},
  token = service.token,
): Promise<AuditRecord[]> {
  const records: AuditRecord[] = [];
  let cursor: string | undefined;
  do {
    const query = new URLSearchParams({ limit: '1000', ...filter, ...(cursor !== undefined && { cursor }) });
    const answer = await service.call('GET', `/v1/audit/records?${query}`, undefined, { token });
    if (answer.status !== 200) throw new Error(`expected 200: ${answer.status} ${answer.text}`);
    records.push(...(answer.body['items'] as AuditRecord[]));
    cursor = member(answer, 'nextCursor');
  } while (cursor !== undefined);
  return records;
}

/** What is in the service's database, past the service. @param text with `$1` for a parameter */
export async function rowsOf(
  { dataDir, databaseUrl }: TestService,
  text: string,
  ...parameters: string[]
): Promise<Record<string, unknown>[]> {
  if (databaseUrl !== undefined) {
    const client = new pg.Client({ connectionString: databaseUrl });
    await client.connect();
    try {
      return (await client.query<Record<string, unknown>>(text, parameters)).rows;
    } finally {
      await client.end();
    }
  }
  const database = new Database(join(dataDir, 'stathera.db'), { readonly: true });
  try {
    return database.prepare(text.replaceAll(/\$\d/g, '?')).all(...parameters) as Record<string, unknown>[];
  } finally {
    database.close();
  }
}

/** Every record of the log, those of the service itself too, oldest first, wherever the log is. */
export async function recordsKept(service: TestService): Promise<AuditRecord[]> {
  if (service.databaseUrl === undefined) return await recordsOnDisk(service.dataDir);
  const rows = await rowsOf(service, 'select bytes from audit_segment_bytes order by writer, number, start');
  return recordsIn(rows.map(({ bytes }) => String(bytes)));
}

/** Every record in the files of a data directory, those of the service itself too, oldest first. */
export async function recordsOnDisk(dataDir: string): Promise<AuditRecord[]> {
  const directory = join(dataDir, 'audit');
  const files = (await readdir(directory)).filter((name) => name.endsWith('.ndjson')).toSorted();
  const texts = await Promise.all(files.map((name) => readFile(join(directory, name), 'utf8')));
  return recordsIn(texts);
}

function recordsIn(texts: readonly string[]): AuditRecord[] {
  return texts
    .flatMap((text) => text.split('\n'))
    .filter((line) => line.startsWith('{"sequence":'))
    .map((line) => JSON.parse(line) as AuditRecord);
}

/** Status, fields and body of an answer but what differs from request to request. */
export function comparable({ status, headers, text }: Answer): string {
  const own = ['date', 'connection', 'keep-alive', 'transfer-encoding'];
  const fields = [...headers].filter(([name]) => !own.includes(name));
  return JSON.stringify({ status, fields, text });
}

/** The housekeeping job of a service that leaves jobs to others (STATHERA_JOBS_CONCURRENCY=0): it waits for ever. */
export async function waitingJob(service: TestService): Promise<string> {
  for (const deadline = Date.now() + 60_000; ; ) {
    const { body } = await service.call('GET', '/v1/jobs?service=true');
    const [job] = body['items'] as { id: string }[];
    if (job) return job.id;
    if (Date.now() > deadline) throw new Error('no job was made');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
