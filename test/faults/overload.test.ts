import { connect, type Socket } from 'node:net';
import { expect, onTestFinished, test, vi } from 'vitest';
import { makeKey, makeToken, plaintext } from '../access/support.ts';
import { startTestService, type TestService } from '../support/service.ts';

// More than slots and queue hold; no more than a busy machine reads without the log's time running out meanwhile.
const connections = 50;
const each = 40;
/** Ten times what a request waits at most, and as much for a busy machine. */
const boundMilliseconds = 5_000;

/** Requests in flight by the thousand, over and over until it is stopped. */
function flood({ url }: TestService, token: string, body: string) {
  const head = `POST /v1/keys/key/encrypt HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n`;
  const fields = `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
  const requests = (head + fields + body).repeat(each);
  const statuses = new Map<string, number>();
  const open = (): Socket => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    socket.on('error', () => {});
    let answered = 0;
    socket.on('data', (chunk: Buffer) => {
      for (const [, status = ''] of chunk.toString('latin1').matchAll(/HTTP\/1\.1 (\d{3}) /g)) {
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        answered += 1;
        if (answered % each === 0) socket.write(requests);
      }
    });
    socket.write(requests);
    return socket;
  };
  const sockets = Array.from({ length: connections }, open);
  const stop = () => sockets.forEach((socket) => void socket.destroy());
  onTestFinished(stop);
  return { count: (status: string) => statuses.get(status) ?? 0, stop };
}

/**
 * Guarantees that a token with two thousand requests in flight delays neither another token of its namespace nor one
 * of another: each of their requests is answered, and soon; that an operator revokes it meanwhile, after which it is
 * served no more; and that what was in hand is over when it stops.
 */
test('a flood of one token', { timeout: 120_000 }, async () => {
  const service = await startTestService();
  onTestFinished(() => service.kill());
  await makeKey(service, 'key');
  const [noisy, quiet] = await Promise.all(
    [1, 2].map(() => makeToken(service, { scopes: ['keys:encrypt'] })),
  );
  const flooding = flood(service, noisy?.secret ?? '', JSON.stringify({ plaintext }));
  await vi.waitFor(() => expect(flooding.count('503')).toBeGreaterThan(1_000), 30_000);
  let slowest = 0;
  for (let count = 0; count < 40; count += 1) {
    const started = performance.now();
    const { status } = await service.call(
      'POST',
      '/v1/keys/key/encrypt',
      { plaintext },
      { token: quiet?.secret ?? '' },
    );
    expect(status).toBe(200);
    slowest = Math.max(slowest, performance.now() - started);
  }
  expect(slowest).toBeLessThan(boundMilliseconds);
  expect((await service.call('GET', '/readyz')).status).toBe(200);
  expect((await service.call('DELETE', `/v1/access/tokens/${noisy?.id}`)).status).toBe(204);
  const served = flooding.count('200');
  expect(served).toBeGreaterThan(0);
  await vi.waitFor(() => expect(flooding.count('401')).toBeGreaterThan(1_000), 30_000);
  flooding.stop();
  await vi.waitFor(async () => {
    const { text } = await service.call('GET', '/metrics');
    expect(text).toMatch(/^stathera_admission_inside\{lane="data"\} 0$/m);
    expect(text).toMatch(/^stathera_admission_waiting\{lane="data"\} 0$/m);
  }, 30_000);
});
