import { setTimeout as delay } from 'node:timers/promises';
import { createContribute } from '../../../src/client/aggregate/contribute.ts';
import type { Client, Query } from '../../../src/client/index.ts';
import type { Row } from '../../../src/client/node/aggregate/index.ts';
import { createClient } from '../../../src/client/node/client.ts';
import { parameterSets } from '../../../src/crypto/homomorphic/parameters.ts';
import { type Encryptor, openBgv } from '../../../src/crypto/homomorphic/seal.ts';
import { runMain } from '../../support/data.ts';
import { startTestService, type TestService } from '../../support/service.ts';

/** A service, who administers it, and whoever else there is. */
export interface Stage {
  readonly service: TestService;
  readonly admin: Client;
  caller(name: string, scope: 'datasets:contribute' | 'datasets:query'): Promise<Client>;
}

export async function openStage(directory: string): Promise<Stage> {
  await runMain(['init'], { STATHERA_DATA_DIR: directory });
  const service = await startTestService({ dataDir: directory });
  const clientOf = (token: string) => createClient({ url: service.url, credentials: token });
  const admin = clientOf(service.token);
  return {
    service,
    admin,
    async caller(name, scope) {
      const { secret } = await admin.createToken({ name, scopes: [scope] });
      return clientOf(secret);
    },
  };
}

const encryptors = new Map<string, Encryptor>();

/** As contributors do, but all in this process: each would have one of its own. */
const contribute = createContribute(async ({ parameters, publicKey, slots }) => {
  const key = Buffer.from(publicKey).toString('latin1');
  const known = encryptors.get(key);
  const encryptor = known ?? (await openBgv(parameterSets[parameters])).encryptor(publicKey);
  encryptors.set(key, encryptor);
  return slots.map((each) => encryptor.encrypt(each));
});

/** One client's rows. */
export async function send(client: Client, dataset: string, rows: Iterable<Row>) {
  return await contribute(client, { dataset, rows, verificationKey: 'from-service' });
}

export type Asked = Omit<Parameters<Client['queryDataset']>[0], 'dataset'>;

/** Asks and waits. */
export async function answerTo(analyst: Client, dataset: string, asked: Asked): Promise<Query> {
  let query = await analyst.queryDataset({ dataset, ...asked });
  while (query.state === 'pending') {
    await delay(25);
    query = await analyst.getQuery({ dataset, query: query.id });
  }
  if (query.state !== 'answered') throw new Error(`the query is ${query.state}`);
  return query;
}

/** The code of a refusal. */
export async function codeOf(call: Promise<unknown>): Promise<string> {
  return await call.then(
    () => 'answered',
    (error: unknown) => String((error as { code?: string }).code),
  );
}

export interface Result {
  readonly value: number;
  readonly from: number;
  readonly to: number;
}

export function resultsOf(query: Query): Result[] {
  return (query.results ?? []).map(({ value = 0, from = -Infinity, to = Infinity }) => ({ value, from, to }));
}

/** Its error bars hold with 95 %: within three times as much, no run will see it miss. */
export function isNear({ value, from, to }: Result, truth: number): boolean {
  return Math.abs(value - truth) <= 1.5 * (to - from) + 1e-9;
}

export function shown(value: number, digits = 0): string {
  return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
