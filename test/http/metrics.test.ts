import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { createMetrics } from '../../src/core/metrics.ts';
import { startDemo } from './demo.ts';

/** Guarantees the text format 0.0.4: types, labels with their escapes, cumulative buckets, sums and counts. */
test('writes what Prometheus reads', () => {
  const metrics = createMetrics();
  metrics
    .counter({ name: 'a_total', help: 'A\\b\nc', labels: ['x'] })
    .with({ x: 'q"\\\n' })
    .add(2);
  const gauge = metrics.gauge({ name: 'b', help: 'B' }).with({});
  const histogram = metrics
    .histogram({ name: 'c_seconds', help: 'C', labels: ['op'], buckets: [0.1, 1] })
    .with({ op: 'o' });
  for (const value of [0.1, 0.5, 2]) histogram.observe(value);
  metrics.onCollect(() => gauge.set(Number.POSITIVE_INFINITY));
  expect(metrics.text()).toBe(`# HELP a_total A\\\\b\\nc
# TYPE a_total counter
a_total{x="q\\"\\\\\\n"} 2
# HELP b B
# TYPE b gauge
b +Inf
# HELP c_seconds C
# TYPE c_seconds histogram
c_seconds_bucket{op="o",le="0.1"} 1
c_seconds_bucket{op="o",le="1"} 2
c_seconds_bucket{op="o",le="+Inf"} 3
c_seconds_sum{op="o"} 2.6
c_seconds_count{op="o"} 3
`);
});

/** Guarantees that series are bounded: what comes beyond is counted together as `other`. */
test('bounds its series', () => {
  const metrics = createMetrics();
  const family = metrics.counter({ name: 'a_total', help: 'A', labels: ['x'], maxSeries: 3 });
  for (let index = 0; index < 100; index++) family.with({ x: `v${index}` }).add();
  expect(metrics.text().match(/^a_total\{/gm)).toHaveLength(4);
  expect(metrics.text()).toContain('a_total{x="other"} 97');
  expect(family.with({ x: 'v0' })).toBe(family.with({ x: 'v0' }));
  expect(() => metrics.gauge({ name: 'a_total', help: 'twice' })).toThrow(/taken/);
  expect(() => metrics.gauge({ name: 'Bad name', help: '' })).toThrow(/name/);
});

/** Guarantees that an observation costs well under 2 µs, so that no request feels it. */
test('is cheap', () => {
  const histogram = createMetrics()
    .histogram({ name: 'a', help: 'A', buckets: Array.from({ length: 15 }, (_, i) => i) })
    .with({});
  const rounds = 200_000;
  // The best of several: what else the machine does comes and goes.
  const micros = Array.from({ length: 5 }, () => {
    const started = performance.now();
    for (let index = 0; index < rounds; index++) histogram.observe(index % 20);
    return ((performance.now() - started) * 1000) / rounds;
  });
  expect(Math.min(...micros)).toBeLessThan(2);
});

/** Guarantees that requests are counted by operation and status class, bytes by direction, and no path becomes a label. */
test('counts requests', async () => {
  const { call, post, metrics } = await startDemo();
  const body = '{"plaintext":"AAEC"}';
  const answer = await (await post('/v1/demo/k/seal', body)).text();
  await (await call('/v1/demo?limit=0')).text();
  for (let index = 0; index < 5; index++) await (await call(`/made-up-${index}`)).text();
  const text = metrics.text();
  expect(text).toContain('stathera_http_requests_total{operation="demo.seal",status="2xx"} 1');
  expect(text).toContain('stathera_http_requests_total{operation="demo.list",status="4xx"} 1');
  expect(text).toContain('stathera_http_requests_total{operation="unrouted",status="4xx"} 5');
  expect(text).toContain('stathera_http_request_duration_seconds_count{operation="demo.seal"} 1');
  expect(text).toContain(`stathera_http_body_bytes_total{direction="in"} ${body.length}`);
  expect(Number(/direction="out"\} (\d+)/.exec(text)?.[1])).toBeGreaterThan(answer.length);
  expect(text).toMatch(/^stathera_http_connections [1-9]/m);
  expect(text).not.toContain('made-up');
});

/** Guarantees that connections are counted up and down. */
test('counts connections', async () => {
  const { port, metrics } = await startDemo();
  const open = () => Number(/^stathera_http_connections (\d+)$/m.exec(metrics.text())?.[1]);
  const held = connect(port, '127.0.0.1').resume();
  await vi.waitFor(() => expect(open()).toBe(1), 20_000);
  const ended = once(held, 'close');
  held.write('no HTTP\r\n\r\n');
  await ended;
  await vi.waitFor(() => expect(open()).toBe(0), 20_000);
  expect(metrics.text()).toContain('stathera_http_malformed_requests_total 1');
});

/** Guarantees that the process is measured with plausible values. */
test('measures the process', async () => {
  const { metrics } = await startDemo();
  const value = (name: string) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(metrics.text())?.[1]);
  expect(value('process_resident_memory_bytes')).toBeGreaterThan(2 ** 24);
  expect(value('nodejs_heap_size_used_bytes')).toBeGreaterThan(2 ** 20);
  expect(Math.abs(value('process_start_time_seconds') - Date.now() / 1000)).toBeLessThan(3600);
  if (process.platform === 'linux') expect(value('process_open_fds')).toBeGreaterThan(3);
});

/** Guarantees that timers count as late by how late they were: not at all while nothing is done, by what held the loop. */
test('measures how late timers are', async () => {
  const { metrics } = await startDemo();
  const delay = (percentile: number) =>
    Number(
      new RegExp(`^stathera_event_loop_delay_p${percentile}_seconds (\\S+)$`, 'm').exec(metrics.text())?.[1],
    );
  // Each reading begins anew; the timers behind it are 10 ms apart.
  const readAfter = async (percentile: number, work: () => void) => {
    metrics.text();
    await setTimeout(100);
    work();
    await setTimeout(100);
    return delay(percentile);
  };
  await vi.waitFor(async () => expect(await readAfter(50, () => undefined)).toBeLessThan(0.01), 10_000);
  const held = await readAfter(99, () => {
    const until = performance.now() + 200;
    while (performance.now() < until);
  });
  expect(held).toBeGreaterThan(0.1);
});
