import { afterAll, afterEach, beforeAll, expect, onTestFinished, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { createEvents, type Events } from '../../src/events/events.ts';
import { streamLimits } from '../../src/events/stream.ts';
import { callerIn, openParts, type Parts, until } from '../lifecycle/support.ts';
import { freshDataDir, removeDirectory } from '../support/data.ts';
import { type Receiver, startReceiver, takes } from './receiver.ts';

let dataDir: string;
let parts: Parts;
let receiver: Receiver;
let events: Events;
const logged: string[] = [];

function open(): Events {
  const { store, hsm, systemKeys, operations, revision } = parts;
  return createEvents({
    ...{ store, hsm, systemKeys, operations, revision, clock: systemClock },
    log: (_level, event) => void logged.push(event),
    config: {
      subnets: [{ address: '127.0.0.0', prefix: 8, family: 'ipv4' }],
      retentionMilliseconds: 3_600_000,
    },
    limits: {
      deliveries: { webhooks: 4, together: 2, attempts: 3, backoffMilliseconds: 20, lookMilliseconds: 10 },
      streams: { ...streamLimits, streamsOfNamespace: 3, heartbeatMilliseconds: 40, lookMilliseconds: 10 },
      sendMilliseconds: 400,
    },
  });
}

beforeAll(async () => {
  dataDir = await freshDataDir();
  parts = await openParts({ dataDir, clock: systemClock });
  receiver = await startReceiver();
  events = open();
  events.start();
});
afterAll(async () => {
  events.endStreams();
  await events.close();
  await receiver.close();
  await parts.close();
  await removeDirectory(dataDir);
});
afterEach(() => {
  receiver.behave(takes);
  receiver.received.splice(0);
});

const caller = () => callerIn(parts.namespaceId);

async function webhook(path = ''): Promise<string> {
  const { id } = await events.webhooks.create(caller(), { url: `${receiver.url}${path}`, description: '' });
  onTestFinished(() => events.webhooks.remove(caller(), id));
  return id;
}

const told = (keyId: string) => ({
  ...{ type: 'rotation.due' as const, namespaceId: parts.namespaceId, keyId, at: systemClock.now() },
});

const emit = (...keyIds: string[]) => parts.store.transaction((tx) => events.emit(tx, keyIds.map(told)));

const deliveries = async (id: string) =>
  (await events.webhooks.deliveries(caller(), id, { limit: 1_000 })).items;

const keysOf = () => receiver.received.map(({ body }) => (body['data'] as { keyId: string }).keyId);

/** Guarantees that what a receiver does not take at first arrives later, as the same message, and what is taken is sent once. */
test('tries again', async () => {
  const id = await webhook();
  let refusals = 2;
  receiver.behave((request, answer) => {
    if (refusals-- > 0) answer.writeHead(503).end('later');
    else takes(request, answer);
  });
  await emit('again');
  await until(async () => receiver.received.length === 3 && (await deliveries(id)).length === 0);
  expect(new Set(receiver.received.map((each) => each.id)).size).toBe(1);
});

/** Guarantees that what a receiver never takes is given up, says why, is listed, and arrives once it is asked for again; redirects lead nowhere. */
test.each([
  ['500', 'an error', (_: unknown, answer) => void answer.writeHead(500).end()],
  [
    ...(['302', 'a redirect'] as const),
    (_: unknown, answer) => void answer.writeHead(302, { location: `${receiver.url}/elsewhere` }).end(),
  ],
  ['timeout', 'silence', () => undefined],
  [
    ...(['timeout', 'a slow answer'] as const),
    (_: unknown, answer) => {
      const drip = setInterval(() => answer.writeContinue(), 50);
      answer.on('close', () => clearInterval(drip));
    },
  ],
  ['ECONNRESET', 'a hang-up', (_: unknown, answer) => void answer.socket?.destroy()],
] as [string, string, Parameters<Receiver['behave']>[0]][])(
  'gives up: %s for %s',
  async (problem, _, behaviour) => {
    const id = await webhook();
    receiver.behave(behaviour);
    await emit('refused');
    await until(async () => (await deliveries(id))[0]?.state === 'dead');
    expect(await deliveries(id)).toMatchObject([{ attempts: 3, problem }]);
    expect(logged).toContain('events.delivery-given-up');
    expect(receiver.received).toHaveLength(3);
    receiver.behave(takes);
    expect(await events.webhooks.redeliver(caller(), id)).toEqual({ count: 1 });
    await until(async () => (await deliveries(id)).length === 0);
    expect(receiver.received).toHaveLength(4);
  },
);

/** Guarantees that an answer without an end is cut, and counts by its status. */
test('cuts endless answers', async () => {
  const id = await webhook();
  let cut = false;
  receiver.behave((_, answer) => {
    answer.writeHead(200);
    const more = () => answer.write('x'.repeat(8_192));
    answer.on('drain', more);
    answer.on('close', () => {
      cut = true;
    });
    while (more());
  });
  await emit('endless');
  await until(async () => cut && (await deliveries(id)).length === 0);
  expect(receiver.received).toHaveLength(1);
});

/** Guarantees that a receiver that hangs keeps nothing from the others, and that two processes do not send the same side by side. */
test('goes on beside one that hangs', async () => {
  const second = open();
  second.start();
  onTestFinished(() => second.close());
  await webhook('/hangs');
  const good = await webhook();
  receiver.behave((request, answer) => {
    if (request.path.endsWith('/hangs')) return;
    takes(request, answer);
  });
  const keys = Array.from({ length: 150 }, (_, index) => `key-${index}`);
  await emit(...keys);
  await until(async () => (await deliveries(good)).length === 0);
  const sent = receiver.received.flatMap(({ path, id }) => (path === '/hook' ? [id] : []));
  expect([sent.length, new Set(sent).size]).toEqual([keys.length, keys.length]);
});

/** Guarantees that events are there exactly when what they tell of is, and that a row of a webhook that somebody altered is used for nothing. */
test('trusts its own rows alone', async () => {
  const id = await webhook();
  const failed = parts.store.transaction(async (tx) => {
    await events.emit(tx, [told('never')]);
    throw new Error('and yet not');
  });
  await expect(failed).rejects.toThrow('and yet not');
  const url = `${receiver.url}/stolen`;
  await parts.store.db.updateTable('webhooks').set({ url }).where('id', '=', id).execute();
  await emit('kept');
  await until(async () => logged.includes('events.webhook-unusable'));
  const row = { id, url: receiver.url };
  await parts.store.db.updateTable('webhooks').set({ url: row.url }).where('id', '=', id).execute();
  await until(async () => keysOf().includes('kept') || (await dead(id)));
  if (await dead(id)) await events.webhooks.redeliver(caller(), id);
  await until(() => Promise.resolve(keysOf().includes('kept')));
  expect(keysOf()).not.toContain('never');
});

async function dead(id: string): Promise<boolean> {
  return (await deliveries(id))[0]?.state === 'dead';
}

/** Reads a stream until the text has come about. */
async function readUntil(reader: ReadableStreamDefaultReader<Uint8Array>, what: RegExp): Promise<string> {
  let text = '';
  const decoder = new TextDecoder();
  while (!what.test(text)) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`the stream ended: ${text}`);
    text += decoder.decode(value, { stream: true });
  }
  return text;
}

/** Guarantees that a quiet stream gives signs of life, that one which is not read for long costs a page and misses nothing, and that there is a limit to them. */
test('streams at its readers’ speed', async () => {
  const first = await events.follow(caller(), {});
  const quiet = first.getReader();
  await readUntil(quiet, /\n\n:\n\n:\n\n/);
  const slow = (await events.follow(caller(), {})).getReader();
  await readUntil(slow, /retry/);
  const keys = Array.from({ length: 1_000 }, (_, index) => `slow-${index}`);
  for (let at = 0; at < keys.length; at += 100) await emit(...keys.slice(at, at + 100));
  await readUntil(quiet, /slow-999"/);
  const text = await readUntil(slow, /slow-999"/);
  const numbers = [...text.matchAll(/^id: (\d+)$/gm)].map(([, number]) => Number(number));
  expect(numbers).toHaveLength(1_000);
  expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
  const third = await events.follow(caller(), {});
  await expect(events.follow(caller(), {})).rejects.toThrow('service/overloaded');
  await third.cancel();
  const fourth = (await events.follow(caller(), { after: Number(numbers.at(-2)) })).getReader();
  expect(await readUntil(fourth, /slow-999"/)).not.toContain('slow-997');
  for (const reader of [quiet, slow, fourth]) await reader.cancel();
});

/** Guarantees that who asks for what is not kept any more is told so. */
test('tells of what is missing', async () => {
  await parts.store.db.deleteFrom('webhook_deliveries').execute();
  const { number } = await parts.store.db
    .selectFrom('events')
    .select(({ fn }) => fn.max('number').as('number'))
    .executeTakeFirstOrThrow();
  await emit('after');
  await parts.store.db.deleteFrom('events').where('number', '<=', Number(number)).execute();
  const stream = (await events.follow(caller(), { after: 1 })).getReader();
  expect(await readUntil(stream, /"after"/)).toContain('event: events.gap\n');
  await stream.cancel();
});
