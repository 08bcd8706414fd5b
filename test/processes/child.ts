/** A supervisor, and the processes that it starts: the service's HTTP over work that a test decides on. */
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { openLog } from '../../src/cli/log.ts';
import { createMetrics } from '../../src/core/metrics.ts';
import { listen } from '../../src/http/listen.ts';
import { defineRoute } from '../../src/http/route.ts';
import { createHttpApp } from '../../src/http/server.ts';
import { isSupervised, joinSupervisor } from '../../src/processes/supervised.ts';
import { createSupervisor, supervisorDefaults } from '../../src/processes/supervisor.ts';
import type { StandInOptions } from './stand-in.ts';

const options = JSON.parse(process.env['STATHERA_TEST_STAND_IN'] ?? '{}') as StandInOptions;
const numberFrom = z.string().regex(/^\d+$/).transform(Number);

if (isSupervised) await serve();
else await supervise();

async function supervise(): Promise<void> {
  const log = openLog('info');
  const supervisor = createSupervisor({
    processes: options.processes,
    program: { exec: process.argv[1] ?? '', args: [] },
    listen: { host: '127.0.0.1', port: 0 },
    limits: { ...supervisorDefaults, hungAfterMs: 10_000, stopWithinMs: 20_000, ...options.limits },
    log: (level, event, fields) => log[level](fields, event),
    onListening: (url) => process.stdout.write(`listening on ${url}\n`),
  });
  process.on('SIGTERM', () => supervisor.stop()).on('SIGHUP', () => supervisor.roll());
  const inOrder = await supervisor.run().catch((error: Error) => {
    process.stdout.write(`not started: ${error.message}\n`);
    return false;
  });
  process.exitCode = inOrder ? 0 : 1;
}

/** What a test wants of processes that start from now on. */
function order(): string {
  return existsSync(options.orderFile) ? readFileSync(options.orderFile, 'utf8') : '';
}

async function serve(): Promise<void> {
  const supervisor = await joinSupervisor();
  if (order() === 'die') process.kill(process.pid, 'SIGKILL');
  if (order() === 'fail') {
    supervisor.failed({ text: 'the stand-in was told to fail', code: 'stand-in/told' });
    process.exitCode = 1;
    return await supervisor.leave();
  }
  const log = openLog('info', supervisor.number);
  const metrics = createMetrics();
  supervisor.measure(() => metrics.read());
  const answer = { status: 200, description: 'Who answered.', body: z.object({ pid: z.int() }) } as const;
  const route = { tag: 'stand-in', summary: 'For tests', answer, problems: [] } as const;
  const app = createHttpApp({
    routes: [
      defineRoute({
        ...route,
        method: 'get',
        path: '/v1/work',
        operationId: 'stand-in.work',
        request: { query: z.strictObject({ ms: numberFrom.default(0) }) },
        handle: async ({ query }) => {
          if (query.ms > 0) await delay(query.ms);
          return { pid: process.pid };
        },
      }),
      defineRoute({
        ...route,
        method: 'get',
        path: '/v1/lines',
        operationId: 'stand-in.lines',
        request: { query: z.strictObject({ count: numberFrom }) },
        handle: async ({ query }) => {
          for (let line = 0; line < query.count; line++)
            log.info({ line, words: 'é'.repeat(line % 900) }, 'line');
          return { pid: process.pid };
        },
      }),
    ],
    authenticate: async () => ({
      ...{
        kind: 'token',
        id: 'a',
        name: 'test',
        namespaceId: 'b',
        scopes: new Set(),
        keyPatterns: undefined,
      },
    }),
    onRefused: () => undefined,
    ready: async () => ({ ready: true, checks: {} }),
    metricsHandler: () => supervisor.page(),
    metrics,
    log,
    version: '0.0.0',
  });
  const { tls, maxConnections } = options;
  const listener = await listen(app, {
    ...{ host: '127.0.0.1', port: supervisor.port, allowCleartext: false },
    ...(tls && { tls }),
    limits: { ...(maxConnections !== undefined && { maxConnections }) },
  });
  supervisor.listening(listener.url);
  const manner = await supervisor.stop;
  await listener.close(15_000, { unnoticed: manner === 'unnoticed' });
  log.flush();
  await supervisor.leave();
}
