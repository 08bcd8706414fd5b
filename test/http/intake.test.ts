import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { createIntake } from '../../src/http/intake.ts';
import { authorized, raw, startDemo, statuses } from './demo.ts';

/** An intake whose requests are begun by noting whose they are. */
function startIntake() {
  const begun: Socket[] = [];
  const dropped = vi.fn();
  const intake = createIntake(({ socket }) => void begun.push(socket), dropped);
  const send = (socket: Socket, count: number): void => {
    for (let index = 0; index < count; index += 1) {
      const incoming = new IncomingMessage(socket);
      intake.take(incoming, new ServerResponse(incoming));
    }
  };
  return { intake, begun, dropped, send };
}

/** Guarantees that the event loop has a turn for other things after 64 requests, and that connections take turns. */
test('begins some requests a turn', async () => {
  const { intake, begun, send } = startIntake();
  const [flood, quiet] = [new Socket(), new Socket()];
  send(flood, 1_000);
  send(quiet, 2);
  expect([begun.length, intake.waiting]).toEqual([64, 938]);
  expect([flood.isPaused(), quiet.isPaused()]).toEqual([true, true]);
  await setImmediate();
  expect(begun).toHaveLength(128);
  expect(begun.slice(64, 68)).toEqual([flood, quiet, flood, quiet]);
  expect([flood.isPaused(), quiet.isPaused()]).toEqual([true, false]);
  for (let turn = 0; turn < 14; turn += 1) await setImmediate();
  expect([begun.length, intake.waiting]).toEqual([1_002, 0]);
  expect(flood.isPaused()).toBe(false);
});

/** Guarantees that what is sent ahead is bounded for a connection and for all, and that the others keep theirs. */
test('closes connections that send too much ahead', async () => {
  const { intake, begun, dropped, send } = startIntake();
  const [flood, quiet] = [new Socket(), new Socket()];
  send(quiet, 64 + 10);
  send(flood, 1_024);
  expect(dropped).not.toHaveBeenCalled();
  send(flood, 1);
  expect([dropped.mock.calls.length, flood.destroyed, intake.waiting]).toEqual([1, true, 10]);
  send(flood, 100);
  expect(intake.waiting).toBe(10);
  const many = Array.from({ length: 40 }, () => new Socket());
  for (const socket of many) send(socket, 1_000);
  expect(intake.waiting).toBeLessThanOrEqual(16_384);
  expect(many.filter(({ destroyed }) => destroyed).length).toBeGreaterThanOrEqual(23);
  await vi.waitFor(() => expect(intake.waiting).toBe(0), 20_000);
  expect(begun.filter((socket) => socket === quiet)).toHaveLength(74);
  expect(begun).not.toContain(flood);
});

const pipelined = (count: number) =>
  Array.from(
    { length: count },
    (_, id) => `GET /v1/demo HTTP/1.1\r\n${authorized}X-Request-Id: ${id}\r\n\r\n`,
  ).join('');

/** Guarantees that hundreds of pipelined requests are answered in order, and what is no request behind them last. */
test('answers what was sent ahead in order', async () => {
  const { port, app } = await startDemo();
  const received = await raw(port, [`${pipelined(400)}GARBAGE\r\n\r\n`]);
  expect(statuses(received)).toEqual([...Array.from({ length: 400 }, () => 200), 400]);
  const ids = [...received.matchAll(/X-Request-Id: (\d+)\r\n/gi)].map(([, id]) => Number(id));
  expect(ids).toEqual(Array.from({ length: 400 }, (_, id) => id));
  await vi.waitFor(() => expect([app.desk.active, app.desk.inFlight.size]).toEqual([0, 0]), 20_000);
});

/** Guarantees that bodies of requests that were sent ahead are read, each to its own request. */
test('reads bodies that were sent ahead', async () => {
  const { port } = await startDemo();
  const body = (text: string) => JSON.stringify({ plaintext: Buffer.from(text).toString('base64') });
  const one = (text: string) =>
    `POST /v1/demo/k/seal HTTP/1.1\r\n${authorized}Content-Type: application/json\r\nContent-Length: ${body(text).length}\r\n\r\n${body(text)}`;
  const texts = Array.from({ length: 300 }, (_, index) => `${'x'.repeat(700)} ${index}`);
  const received = await raw(port, [
    `${texts.map(one).join('')}GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
  ]);
  const found = [...received.matchAll(/"plaintext":"([^"]+)"/g)].map(([, text = '']) =>
    Buffer.from(text, 'base64').toString(),
  );
  expect(found).toEqual(texts);
});
