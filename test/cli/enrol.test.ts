import { existsSync } from 'node:fs';
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { emptyDirectory, removeDirectory } from '../support/data.ts';
import { startPostgres, type TestPostgres, whyNoPostgres } from '../support/postgres.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { type Env, type Run, run } from './support.ts';

const why = whyNoPostgres();
const message = Buffer.from('sealed on one node').toString('base64');

interface Node {
  readonly env: Env;
  readonly dataDir: string;
}

describe.each([
  { kind: 'sqlite', name: 'over SQLite' },
  { kind: 'postgres', name: `over PostgreSQL${why === undefined ? '' : ` (${why})`}` },
] as const)('$name', ({ kind }) => {
  const skip = kind === 'postgres' && why !== undefined;
  let server: TestPostgres | undefined;
  let first: Node;
  let second: Node;
  let stranger: Node;
  let requestFile: string;
  let fingerprint: string;
  let sealed: string;
  const steps = new Map<string, Run>();
  const step = (name: string): Run => {
    const ended = steps.get(name);
    if (!ended) throw new Error(`no step ${name}`);
    return ended;
  };

  const hsm = (name: string, node: Node, ...args: string[]) =>
    run(node.env, '--json', 'hsm', 'enrol', ...args).then((ended) => {
      steps.set(name, ended);
      return ended;
    });

  /** A running service of a node, which has the log where it is in files. */
  async function serving<T>(node: Node, work: (service: TestService) => Promise<T>): Promise<T> {
    const [from, to] = [first, second].map(({ dataDir }) => join(dataDir, 'audit'));
    if (node === second && from !== undefined && existsSync(from))
      await cp(from, to ?? '', { recursive: true });
    const token = await readFile(join(first.dataDir, 'bootstrap-token'));
    if (node !== first) await writeFile(join(node.dataDir, 'bootstrap-token'), token, { mode: 0o600 });
    const service = await startTestService({ dataDir: node.dataDir, env: node.env });
    try {
      return await work(service);
    } finally {
      await service.stop();
      if (node === second && to !== undefined && existsSync(to))
        await cp(to, from ?? '', { recursive: true });
    }
  }

  async function seal(service: TestService, key: string, namespace?: string): Promise<string> {
    let token = service.token;
    if (namespace !== undefined) {
      await must(service, 'POST', '/v1/access/namespaces', { name: namespace });
      const scopes = ['keys:admin', 'keys:encrypt', 'keys:decrypt'];
      const made = await must(service, 'POST', '/v1/access/tokens', { name: 'user', namespace, scopes });
      token = String(made['secret']);
    }
    await must(service, 'POST', '/v1/keys', { name: key }, token);
    const answer = await must(service, 'POST', `/v1/keys/${key}/encrypt`, { plaintext: message }, token);
    return JSON.stringify({ token, ciphertext: answer['ciphertext'] });
  }

  async function open(service: TestService, from: string): Promise<unknown> {
    const { token, ciphertext } = JSON.parse(from) as { token: string; ciphertext: string };
    return (await must(service, 'POST', '/v1/decrypt', { ciphertext }, token))['plaintext'];
  }

  async function must(
    service: TestService,
    method: string,
    path: string,
    body: unknown,
    token: string = service.token,
  ): Promise<Readonly<Record<string, unknown>>> {
    const answer = await service.call(method, path, body, { token });
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`);
    return answer.body;
  }

  beforeAll(async () => {
    if (skip) return;
    server = kind === 'postgres' ? await startPostgres() : undefined;
    const dataDir = await emptyDirectory();
    const url = (await server?.createDatabase()) ?? `sqlite:${join(dataDir, 'shared.db')}`;
    const node = (directory: string): Node => ({
      dataDir: directory,
      env: { STATHERA_DATA_DIR: directory, STATHERA_DATABASE_URL: url },
    });
    [first, second, stranger] = [node(dataDir), node(await emptyDirectory()), node(await emptyDirectory())];
    requestFile = join(second.dataDir, 'request');
    await run(first.env, 'init');
    sealed = await serving(first, (service) => seal(service, 'one', 'early'));

    steps.set('init', await run(second.env, 'init'));
    const asked = await hsm('request', second, 'request', '-o', requestFile);
    await hsm('request again', second, 'request', '-o', `${requestFile}.again`);
    ({ fingerprint } = asked.json() as { fingerprint: string });
    await hsm('accept early', second, 'accept', '--confirmation', '00');
    await hsm('dry run', first, 'approve', requestFile);
    await hsm('wrong', first, 'approve', requestFile, '--fingerprint', fingerprint.replace(/^./, 'x'));
    const text = await readFile(requestFile, 'utf8');
    await writeFile(`${requestFile}.altered`, text.replace(/"rootId": "0/, '"rootId": "1'));
    await hsm('altered', first, 'approve', `${requestFile}.altered`, '--fingerprint', fingerprint);
    await hsm('nothing yet', first, 'approve', requestFile);
    // Beside the service, which goes on.
    const approved = await serving(first, () =>
      hsm('approve', first, 'approve', requestFile, '--fingerprint', fingerprint),
    );
    await hsm('approve again', first, 'approve', requestFile, '--fingerprint', fingerprint.toUpperCase());
    steps.set('serve early', await run(second.env, 'init'));
    await hsm('wrong confirmation', second, 'accept', '--confirmation', '0'.repeat(32));
    const { confirmation } = approved.json() as { confirmation: string };
    await hsm('accept', second, 'accept', '--confirmation', confirmation);
    await hsm('accept again', second, 'accept', '--confirmation', confirmation);
    steps.set('init at last', await run(second.env, 'init'));
  }, 600_000);
  afterAll(async () => {
    if (skip) return;
    for (const { dataDir } of [first, second, stranger]) await removeDirectory(dataDir);
    await server?.remove();
  });

  /** Guarantees that a token that is not enrolled says so, and what to do next, before and after it was approved. */
  test.skipIf(skip)('a token that is not enrolled is told what to do', () => {
    expect(step('init')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('hsm enrol request') as string,
    });
    const early = step('serve early');
    expect(early).toMatchObject({ code: 1, stderr: expect.stringContaining('hsm enrol accept') as string });
    const accept = step('accept early');
    expect(accept).toMatchObject({ code: 1, stderr: expect.stringContaining('hsm enrol approve') as string });
  });

  /** Guarantees that asking again asks the same, that looking changes nothing, and that approving twice is approving once. */
  test.skipIf(skip)('every step may be done again', () => {
    expect(step('request').json()).toMatchObject({
      fingerprint: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
    });
    expect(step('request again').json()).toMatchObject({ fingerprint });
    // Record key, audit key, and the KEKs of two namespaces.
    expect(step('dry run').json()).toMatchObject({ keys: 4, fingerprint, approved: false });
    expect(step('nothing yet').json()).toMatchObject({ keys: 4 });
    expect(step('approve').json()).toMatchObject({ handedOver: 4, approved: true });
    expect(step('approve again').json()).toMatchObject({ handedOver: 0, approved: true });
    expect(step('accept').json()).toEqual({ taken: 4 });
    expect(step('accept again').json()).toEqual({ taken: 0 });
    expect(step('init at last')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('had its first token before') as string,
    });
  });

  /** Guarantees that nothing is handed over for a wrong fingerprint or an altered request, nor taken for a wrong confirmation. */
  test.skipIf(skip)('what was not compared is refused', () => {
    for (const name of ['wrong', 'altered']) {
      expect(step(name), name).toMatchObject({ code: 1, stdout: '' });
      expect(step(name).stderr).toContain('fingerprint');
    }
    const wrong = step('wrong confirmation');
    expect(wrong).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining('confirmation') as string,
    });
  });

  /** Guarantees that each node opens what the other sealed, in namespaces made before and after, and that the log tells of it. */
  test.skipIf(skip)('what one node seals the other opens', { timeout: 300_000 }, async () => {
    const plaintext = message;
    const later = await serving(second, async (service) => {
      expect(await open(service, sealed)).toBe(plaintext);
      return await seal(service, 'two', 'late');
    });
    await serving(first, async (service) => {
      expect(await open(service, later)).toBe(plaintext);
      expect(await open(service, sealed)).toBe(plaintext);
      const answer = await service.call('GET', '/v1/audit/records?service=true&limit=100');
      const actions = (answer.body['items'] as { action: string }[]).map(({ action }) => action);
      expect(actions.filter((action) => action.startsWith('hsm.'))).toEqual(
        expect.arrayContaining(['hsm.approve-enrolment', 'hsm.accept-enrolment']),
      );
    });
  });

  /** Guarantees that nodes that serve at the same time open what the other seals, in namespaces made at that time. */
  test.skipIf(skip || kind === 'sqlite')('two nodes at once', { timeout: 300_000 }, async () => {
    await serving(first, (one) =>
      serving(second, async (two) => {
        expect(await open(two, await seal(one, 'three', 'of-one'))).toBe(message);
        expect(await open(one, await seal(two, 'four', 'of-two'))).toBe(message);
      }),
    );
  });

  /** Guarantees that doctor tells an enrolled token from one that is not, and that serve refuses to start with that one. */
  test.skipIf(skip)('doctor and serve tell', { timeout: 300_000 }, async () => {
    await hsm('strange', stranger, 'request');
    const enrolment = async (node: Node) => {
      const ended = await run(node.env, '--json', 'doctor');
      const { findings } = ended.json() as { findings: { check: string; state: string; next?: string }[] };
      return findings.find(({ check }) => check === 'enrolment');
    };
    expect(await enrolment(second)).toMatchObject({ state: 'ok' });
    const strange = await enrolment(stranger);
    expect(strange).toMatchObject({
      state: 'failed',
      next: expect.stringContaining('hsm enrol request') as string,
    });
    // A directory that was set up, with another token in it.
    await cp(join(first.dataDir, 'initialized'), join(stranger.dataDir, 'initialized'));
    const serve = await run(stranger.env, 'serve');
    expect(serve).toMatchObject({ code: 1, stderr: expect.stringContaining('hsm enrol request') as string });
  });

  /** Guarantees that the tokens are listed, and that one is taken out when that was said twice. */
  test.skipIf(skip)('list and remove', { timeout: 300_000 }, async () => {
    const listed = async () => {
      const { tokens } = (await run(first.env, '--json', 'hsm', 'list')).json() as {
        tokens: { id: string; wrapped: number; lacking: number }[];
      };
      return tokens;
    };
    const before = await listed();
    const { rootId } = step('request').json() as { rootId: string };
    expect(before.map(({ id }) => id)).toContain(rootId);
    expect(before.map(({ lacking }) => lacking)).toEqual([0, 0]);
    const remove = (...options: string[]) => run(first.env, '--json', 'hsm', 'remove', rootId, ...options);
    expect((await remove()).json()).toMatchObject({ removed: false });
    expect(await listed()).toEqual(before);
    expect((await remove('--yes')).json()).toMatchObject({ removed: true });
    expect(await listed()).toEqual(before.filter(({ id }) => id !== rootId));
    const serve = await run(second.env, 'serve');
    expect(serve).toMatchObject({ code: 1, stderr: expect.stringContaining('hsm enrol request') as string });
  });
});
