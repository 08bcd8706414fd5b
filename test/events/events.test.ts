import { afterAll, afterEach, beforeAll, expect, onTestFinished, test } from 'vitest';
import { freshName, makeKey, makeNamespace, makeToken, rowsOf } from '../access/support.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { isSigned, type Receiver, startReceiver } from './receiver.ts';

const env = { STATHERA_DESTRUCTION_MIN_SECONDS: '1', STATHERA_WEBHOOK_ADDRESSES: '127.0.0.0/8' };
let service: TestService;
let receiver: Receiver;
beforeAll(async () => {
  service = await startTestService({ env });
  receiver = await startReceiver();
});
afterAll(async () => {
  await receiver.close();
  await service.dispose();
});
afterEach(() => void receiver.received.splice(0));

const ceilingMilliseconds = 30_000;

async function until(what: () => Promise<boolean> | boolean): Promise<void> {
  for (const deadline = performance.now() + ceilingMilliseconds; !(await what()); ) {
    if (performance.now() > deadline) throw new Error('it does not come about');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A key whose first version's destruction is scheduled, taken back, scheduled again and done. */
async function lifeOfAVersion(token = service.token): Promise<string> {
  const name = freshName('key');
  const id = await makeKey(service, name, token);
  const must = async (path: string, body: object) => {
    const answer = await service.call('POST', `/v1/keys/${name}/${path}`, body, { token });
    expect(answer.status, answer.text).toBe(200);
  };
  await must('rotate', {});
  await must('destroy', { versions: [1] });
  await must('restore', {});
  await must('retention', { keepLatest: 1 });
  await until(async () => (await eventsOf(id, token)).some(({ type }) => type === 'version.retired'));
  await must('destroy', { versions: [1], windowSeconds: 1 });
  await until(async () => (await eventsOf(id, token)).some(({ type }) => type === 'destruction.done'));
  return id;
}

interface Told {
  readonly number: number;
  readonly id: string;
  readonly type: string;
  readonly keyId: string;
  readonly data: Readonly<Record<string, unknown>>;
}

async function eventsOf(keyId: string, token = service.token): Promise<Told[]> {
  const found: Told[] = [];
  for (let cursor = '0'; ; ) {
    const page = await service.call('GET', `/v1/events?limit=3&cursor=${cursor}`, undefined, { token });
    expect(page.status, page.text).toBe(200);
    found.push(...(page.body['items'] as Told[]));
    const next = page.body['nextCursor'] as string | undefined;
    if (next === undefined) return found.filter((event) => event.keyId === keyId);
    cursor = next;
  }
}

const story = [
  'rotation.done',
  'destruction.scheduled',
  'destruction.cancelled',
  'version.retired',
  'destruction.scheduled',
  'destruction.done',
];

/** A stream under way: what came of it so far, split into events. */
function follow(options: { token?: string; query?: string; lastEventId?: string } = {}) {
  const { token = service.token, query = '', lastEventId } = options;
  const stop = new AbortController();
  const came = { text: '', ended: false, status: 0 };
  const ended = (async () => {
    const response = await fetch(new URL(`/v1/events${query}`, service.url), {
      signal: stop.signal,
      headers: {
        authorization: `Bearer ${token}`,
        accept: 'text/event-stream',
        ...(lastEventId !== undefined && { 'last-event-id': lastEventId }),
      },
    });
    came.status = response.status;
    const text = new TextDecoder();
    for await (const part of response.body ?? [])
      came.text += text.decode(part as Uint8Array, { stream: true });
  })()
    .catch(() => undefined)
    .finally(() => {
      came.ended = true;
    });
  onTestFinished(async () => {
    stop.abort();
    await ended;
  });
  return {
    came,
    events: () =>
      came.text
        .split('\n\n')
        .slice(0, -1)
        .flatMap((block) => {
          const member = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1];
          const [id, type, data] = [member('id'), member('event'), member('data')];
          return id === undefined || data === undefined
            ? []
            : [{ id, type, data: JSON.parse(data) as { id: string; data: { keyId: string } } }];
        }),
  };
}

/** Guarantees that what happens to a version is told once, in order, with the change, page by page; and to nobody who may not see the key. */
test('tells what happened', async () => {
  const keyId = await lifeOfAVersion();
  const told = await eventsOf(keyId);
  expect(told.map(({ type }) => type)).toEqual(story);
  expect(told[0]?.data).toMatchObject({ fromVersion: 1, toVersion: 2 });
  expect(told[1]?.data).toMatchObject({ version: 1, forced: false });
  expect(told.map(({ number }) => number)).toEqual(
    told.map(({ number }) => number).toSorted((a, b) => a - b),
  );
  const some = await service.call('GET', `/v1/events?types=destruction.done,rotation.due&limit=1000`);
  const types = (some.body['items'] as Told[]).filter((event) => event.keyId === keyId);
  expect(types.map(({ type }) => type)).toEqual(['destruction.done']);
  const other = await makeNamespace(service, ['keys:admin', 'audit:read']);
  expect(await eventsOf(keyId, other.token.secret)).toEqual([]);
  const few = await makeToken(service, { scopes: ['audit:read'], keys: ['nothing*'] });
  expect(await eventsOf(keyId, few.secret)).toEqual([]);
  for (const query of ['types=none', 'cursor=x', 'limit=0'])
    expect((await service.call('GET', `/v1/events?${query}`)).status).toBe(400);
});

/** Guarantees that a stream tells what happens as it happens, goes on after the event it is given without leaving any out, and that another namespace's tells nothing of it. */
test('streams what happens', async () => {
  const live = follow();
  const other = await makeNamespace(service, ['keys:admin', 'audit:read']);
  const foreign = follow({ token: other.token.secret, query: '?cursor=0' });
  await until(() => live.came.text.startsWith(':') && foreign.came.text.startsWith(':'));
  const keyId = await lifeOfAVersion();
  const own = () => live.events().filter(({ data }) => data.data.keyId === keyId);
  await until(() => own().length === story.length);
  expect(own().map(({ type }) => type)).toEqual(story);
  const told = await eventsOf(keyId);
  expect(own().map(({ id, data }) => [id, data.id])).toEqual(
    told.map(({ number, id }) => [String(number), id]),
  );
  const again = follow({ lastEventId: String(told[1]?.number) });
  await until(() => again.events().length >= story.length - 2);
  expect(
    again
      .events()
      .filter(({ data }) => data.data.keyId === keyId)
      .map(({ type }) => type),
  ).toEqual(story.slice(2));
  expect(foreign.events()).toEqual([]);
  expect(foreign.came.text).toMatch(/^: events of this namespace\nretry: 2000\n\n/);
});

/** Guarantees that a stream ends with the token it was opened by, and that strangers get none. */
test('ends with its token', async () => {
  const token = await makeToken(service, { scopes: ['audit:read'] });
  const stream = follow({ token: token.secret });
  await until(() => stream.came.text.startsWith(':'));
  expect((await service.call('DELETE', `/v1/access/tokens/${token.id}`)).status).toBe(204);
  await until(() => stream.came.ended);
  const refused = follow({ token: token.secret });
  await until(() => refused.came.ended);
  expect(refused.came.status).toBe(401);
  const powerless = await makeToken(service, { scopes: ['keys:encrypt'] });
  const denied = follow({ token: powerless.secret });
  await until(() => denied.came.ended);
  expect(denied.came.status).toBe(403);
});

/** Guarantees that events of the namespace arrive at its webhook, signed by the secret that was shown once and is nowhere in clear, and only of the types asked for. */
test('sends signed webhooks', async () => {
  const types = ['destruction.scheduled', 'destruction.done'];
  const made = await service.call('POST', '/v1/webhooks', { url: receiver.url, types, description: 'tests' });
  expect(made.status, made.text).toBe(201);
  const { id, secret } = made.body as { id: string; secret: string };
  expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
  const keyId = await lifeOfAVersion();
  await until(() => receiver.received.length >= 3);
  const told = (await eventsOf(keyId)).filter(({ type }) => types.includes(type));
  expect(receiver.received.map((each) => each.id).toSorted()).toEqual(told.map((each) => each.id).toSorted());
  for (const each of receiver.received) {
    expect(isSigned(each, secret)).toBe(true);
    expect(isSigned({ ...each, text: `${each.text} ` }, secret)).toBe(false);
    expect(each.body).toMatchObject({ id: each.id, data: { keyId, version: 1 } });
    expect(Math.abs(Number(each.headers['webhook-timestamp']) - Date.now() / 1000)).toBeLessThan(60);
  }
  const list = await service.call('GET', '/v1/webhooks');
  expect(list.body['items']).toMatchObject([{ id, url: receiver.url, types, state: 'enabled' }]);
  expect(list.text).not.toContain('whsec_');
  const rows = await rowsOf(service, 'select blob from webhooks where id = $1', id);
  const bytes = Buffer.from(secret.slice('whsec_'.length), 'base64');
  expect(rows.map(({ blob }) => (blob as Buffer).includes(bytes))).toEqual([false]);
  await until(
    async () => (await service.call('GET', `/v1/webhooks/${id}/deliveries`)).text === '{"items":[]}',
  );

  const disabled = await service.call('PATCH', `/v1/webhooks/${id}`, { state: 'disabled' });
  expect(disabled.body).toMatchObject({ state: 'disabled' });
  await lifeOfAVersion();
  expect(receiver.received).toHaveLength(3);
  expect((await service.call('DELETE', `/v1/webhooks/${id}`)).status).toBe(204);
  expect((await service.call('GET', '/v1/webhooks')).body['items']).toEqual([]);
});

/** Guarantees that URLs which lead nowhere they may are refused when they are given, and that webhooks are whole namespaces' alone. */
test('refuses addresses', async () => {
  const urls = [
    ...['http://example.com/', 'ftp://example.com/', 'https://user:pass@example.com/', 'nothing'],
    ...[
      'https://10.0.0.1/',
      'https://192.168.1.1/',
      'https://169.254.169.254/latest/',
      'https://0x7f000001:1/#x',
    ],
    ...[
      'https://[::1]/',
      'https://[fd00::1]/',
      'https://[::ffff:10.0.0.1]/',
      'https://[fe80::1]/',
      'http://10.0.0.1/',
    ],
  ];
  for (const url of urls) {
    const answer = await service.call('POST', '/v1/webhooks', { url });
    expect([url, answer.status, answer.body['code']]).toEqual([url, 400, 'webhook/address-refused']);
  }
  const few = await makeToken(service, { scopes: ['keys:admin'], keys: ['some*'] });
  const url = 'https://hooks.example.com/';
  expect((await service.call('POST', '/v1/webhooks', { url }, { token: few.secret })).status).toBe(403);
  const other = await makeNamespace(service, ['keys:admin']);
  const made = await service.call('POST', '/v1/webhooks', { url }, { token: other.token.secret });
  expect(made.status).toBe(201);
  const path = `/v1/webhooks/${String(made.body['id'])}`;
  expect((await service.call('PATCH', path, { state: 'disabled' })).status).toBe(404);
  for (let count = 1; count < 20; count += 1)
    await service.call('POST', '/v1/webhooks', { url }, { token: other.token.secret });
  const more = await service.call('POST', '/v1/webhooks', { url }, { token: other.token.secret });
  expect(more.body['code']).toBe('webhook/too-many');
});

/** Guarantees that a stop of the service ends streams, and does not wait for them. */
test('ends streams at a stop', async () => {
  const own = await startTestService({ dataDir: service.dataDir, env: { ...env, ...databaseOf(service) } });
  const response = await fetch(new URL('/v1/events', own.url), {
    headers: { authorization: `Bearer ${own.token}`, accept: 'text/event-stream' },
  });
  expect(response.headers.get('content-type')).toBe('text/event-stream');
  const begun = performance.now();
  expect(await own.stop()).toBe(0);
  expect(performance.now() - begun).toBeLessThan(14_000);
  await response.text();
});

function databaseOf({ databaseUrl }: TestService): Record<string, string> {
  return databaseUrl === undefined ? {} : { STATHERA_DATABASE_URL: databaseUrl };
}
