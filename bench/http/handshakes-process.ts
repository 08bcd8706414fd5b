// A listener over TLS with health alone behind it. Takes its order from the process that forked it, sends back its
// port, and on each `cpu` the CPU time that it has had, in microseconds.
import { pino } from 'pino';
import { ServiceError } from '../../src/core/errors.ts';
import { createMetrics } from '../../src/core/metrics.ts';
import { connectApp, createSecureServer } from '../../src/http/connections.ts';
import { createHttpApp } from '../../src/http/server.ts';
import { readPair, type TlsFiles } from '../../src/http/tls/certificate.ts';
import { groupsFor, opensslGroups } from '../../src/http/tls/groups.ts';
import { observeHandshakes } from '../../src/http/tls/handshakes.ts';

export interface HandshakesOrder {
  readonly files: TlsFiles;
  readonly observed: boolean;
}

process.on('message', (message: HandshakesOrder | 'cpu') => {
  if (message === 'cpu') {
    const { user, system } = process.cpuUsage();
    process.send?.(user + system);
  } else start(message);
});

function start({ files, observed }: HandshakesOrder): void {
  const app = createHttpApp({
    routes: [],
    authenticate: () => Promise.reject(new ServiceError('access/unauthenticated', 'No one is known here.')),
    onRefused: () => {},
    ready: async () => ({ ready: true, checks: {} }),
    metricsHandler: async () => '',
    metrics: createMetrics(),
    log: pino({ level: 'silent' }),
    version: 'bench',
  });
  const groups = groupsFor('served');
  const server = createSecureServer({
    ...readPair(files),
    minVersion: 'TLSv1.3',
    ecdhCurve: opensslGroups(groups),
  });
  if (observed) observeHandshakes(server, app.desk, { groups, timeoutMs: 10_000 });
  connectApp(app, server, true);
  server.listen(0, '127.0.0.1', () => {
    const address = server.address();
    if (typeof address === 'object') process.send?.(address?.port);
  });
}
