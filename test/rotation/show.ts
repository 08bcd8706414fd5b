import {
  type Application,
  cryptography,
  type Told as Findings,
  openApplication,
} from '../cli/database/support.ts';
import { runMain } from '../support/data.ts';
import type { Told } from '../support/demo.ts';
import { whyNoPostgres } from '../support/postgres.ts';
import { startTestService, type TestService } from '../support/service.ts';

export interface ShowOptions {
  /** An empty directory that the caller removes. */
  readonly directory: string;
  /** In each database. */
  readonly rows: number;
  readonly told: Told;
}

const key = 'rotating';
const everySeconds = 2;
const rotations = 5;
/** An operator would have 7 to 30 days. */
const windowSeconds = 2;
const table = 'payments';

interface Stage extends ShowOptions {
  readonly service: TestService;
  readonly applications: readonly Application[];
  readonly crypto: ReturnType<typeof cryptography>;
}

/** What each row holds, and what it is bound to. */
const textOf = (id: number) => `card of customer ${id}`;
const contextOf = (id: number) => ({ table, row: String(id) });

/**
 * Shows versions of a key that come and go while rows that they encrypted stay readable, against a real service that it
 * starts: rotated by date, rewrapped to the last row, retired and destroyed.
 */
export async function show(options: ShowOptions): Promise<void> {
  const { directory, told } = options;
  told.step('A service, and the databases of an application');
  await runMain(['init'], { STATHERA_DATA_DIR: directory });
  const service = await startTestService({
    dataDir: directory,
    env: { STATHERA_ROTATION_MIN_SECONDS: '1', STATHERA_DESTRUCTION_MIN_SECONDS: '1' },
  });
  const applications: Application[] = [];
  try {
    applications.push(await openApplication('sqlite'));
    const why = whyNoPostgres();
    if (why === undefined) applications.push(await openApplication('postgres'));
    told.say(why === undefined ? 'SQLite and PostgreSQL' : `SQLite; PostgreSQL is left out: ${why}`);
    for (const { run, binary } of applications)
      await run(`create table ${table} (id bigint primary key, card ${binary} not null)`);
    await play({ ...options, service, applications, crypto: cryptography(service) });
  } finally {
    for (const application of applications) await application.close();
    await service.stop();
  }
  const verified = await runMain(
    ['audit', 'verify'],
    { STATHERA_DATA_DIR: directory },
    { allowFailure: true },
  );
  told.step('The audit log, without the service');
  const records = /(\d+) records/.exec(verified.stdout)?.[1];
  told.check(`the audit log of ${records ?? 'no'} records is whole`, verified.code === 0);
}

async function play(stage: Stage): Promise<void> {
  const aside = await fill(stage);
  const current = await currentVersion(stage);
  const old = Array.from({ length: current - 1 }, (_, at) => at + 1);
  await refuseToDestroy(stage, old);
  for (const application of stage.applications) await rewrap(stage, application, current);
  await destroy(stage, old);
  await openAll(stage);
  const { service, told } = stage;
  const body = { ciphertext: Buffer.from(aside).toString('base64'), context: contextOf(0) };
  const { status, body: answer } = await service.call('POST', '/v1/decrypt', body);
  told.check(
    `a ciphertext of version 1 that was kept aside does not open: ${String(answer['code'])}`,
    status >= 400,
  );
}

/** Rows are encrypted while the key is rotated: a fifth of them with each version. @returns one of version 1 */
async function fill({ service, applications, crypto, rows, told }: Stage): Promise<Uint8Array> {
  told.step(`${rows} rows in each, while the key is rotated every ${everySeconds} s`);
  await crypto.client.createKey({ name: key });
  const rule = async (body: object) => {
    const answer = await service.call('PATCH', `/v1/keys/${key}/rotation-policy`, body);
    if (answer.status !== 200) throw new Error(`the policy is refused: ${answer.text}`);
  };
  let aside: Uint8Array | undefined;
  await rule({ policy: { everySeconds } });
  for (let part = 0; part < rotations; part += 1) {
    const [from, to] = [part, part + 1].map((at) => Math.floor((rows * at) / rotations)) as [number, number];
    const ids = Array.from({ length: to - from }, (_, at) => from + at);
    const values = ids.map((id) => ({ plaintext: Buffer.from(textOf(id)), context: contextOf(id) }));
    for (const application of applications) {
      const ciphertexts = await crypto.encryptAll(key, values);
      aside ??= ciphertexts[0];
      await application.pay(ids.map((id, at) => [id, ciphertexts[at] ?? new Uint8Array()]));
    }
    await versionAbove(crypto, part + 1);
  }
  await rule({ paused: true });
  if (aside === undefined) throw new Error('nothing was encrypted');
  const { items } = await crypto.client.listKeyVersions({ key });
  told.check(`rotated ${items.length - 1} times by the service, by date`, items.length > rotations);
  return aside;
}

async function currentVersion({ crypto }: Pick<Stage, 'crypto'>): Promise<number> {
  return (await crypto.client.getKey({ key })).currentVersion;
}

async function versionAbove(crypto: Stage['crypto'], version: number): Promise<void> {
  await until(async () => (await currentVersion({ crypto })) > version, `no version came after ${version}`);
}

const ceilingMs = 120_000;

async function until(holds: () => Promise<boolean>, otherwise: string): Promise<void> {
  for (const deadline = performance.now() + ceilingMs; !(await holds()); ) {
    if (performance.now() > deadline) throw new Error(otherwise);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function refuseToDestroy({ service, told }: Stage, versions: readonly number[]): Promise<void> {
  told.step('Versions that rows still need');
  const refused = await service.call('POST', `/v1/keys/${key}/destroy`, { versions, windowSeconds });
  told.check(
    `their destruction is refused: ${String(refused.body['code'])}`,
    refused.body['code'] === 'key/version-in-use',
  );
}

async function rewrap(
  { service, rows, told }: Stage,
  { kind, url }: Application,
  current: number,
): Promise<void> {
  told.step(`stathera rewrap --database-url ${kind === 'sqlite' ? 'sqlite:…' : 'postgres://…'}`);
  const started = performance.now();
  const ran = await runMain(
    [
      ...['rewrap', '--json', '--key', key, '--database-url', url, '--table', table, '--column', 'card'],
      ...['--id-column', 'id', '--context-column', 'row=id', '--context', `table=${table}`],
      // Nobody here keeps data keys, and the service runs with the default.
      ...['--data-key-lease', '0', '--staleness', '500'],
    ],
    {
      STATHERA_URL: service.url,
      STATHERA_TOKEN_FILE: `${service.dataDir}/bootstrap-token`,
      XDG_STATE_HOME: service.dataDir,
    },
    { allowFailure: true },
  );
  if (ran.stdout === '') throw new Error(ran.stderr);
  const found = JSON.parse(ran.stdout) as Findings;
  for (const { version, rewrapped, remaining } of found.versions)
    told.say(`version ${version}: ${rewrapped} rewrapped, ${remaining} remain`);
  told.say(`${((performance.now() - started) / 1000).toFixed(1)} s`);
  const newest = found.versions.find(({ version }) => version === current)?.remaining;
  told.check(
    `two scans agree: all ${found.rows} rows are of version ${current}`,
    ran.code === 0 && found.complete && found.rows === rows && newest === rows,
  );
  const { body } = await service.call('GET', `/v1/keys/${key}/coverage?limit=1`);
  const [report] = body['items'] as { id: string; complete: boolean }[];
  told.check('the service keeps the report', report?.id === found.report && report?.complete === true);
}

async function destroy({ service, crypto, told }: Stage, versions: readonly number[]): Promise<void> {
  told.step(`Versions 1 to ${versions.length}`);
  const states = async () => {
    const { items } = await crypto.client.listKeyVersions({ key });
    return items.filter(({ version }) => versions.includes(version)).map(({ state }) => state);
  };
  told.check(
    'are retired: decrypt-only',
    (await states()).every((state) => state === 'decrypt-only'),
  );
  const dry = await service.call('POST', `/v1/keys/${key}/destroy`, {
    versions,
    windowSeconds,
    dryRun: true,
  });
  const effects =
    (dry.body['versions'] as { effect: string }[] | undefined)?.map(({ effect }) => effect) ?? [];
  told.check(
    'a dry run says that nothing would become unreadable',
    effects.every((effect) => effect === 'nothing'),
  );
  const scheduled = await service.call('POST', `/v1/keys/${key}/destroy`, { versions, windowSeconds });
  if (scheduled.status !== 200) throw new Error(`not scheduled: ${scheduled.text}`);
  told.check(
    'are scheduled to be destroyed',
    (await states()).every((state) => state !== 'decrypt-only'),
  );
  await until(async () => (await states()).every((state) => state === 'destroyed'), 'they are not destroyed');
  told.check(`are destroyed after ${windowSeconds} s`, true);
}

async function openAll({ applications, crypto, rows, told }: Stage): Promise<void> {
  told.step('Every row');
  for (const { kind, all } of applications) {
    const found = await all<{ id: number | string; card: Uint8Array }>(
      `select id, card from ${table} order by id`,
    );
    const opened = await crypto.decryptAll(
      found.map(({ id, card }) => ({ ciphertext: card, context: contextOf(Number(id)) })),
    );
    const right = opened.filter(({ text }, at) => text === textOf(at)).length;
    told.check(`${right} of ${rows} rows of ${kind} open, and are what was encrypted`, right === rows);
  }
}
