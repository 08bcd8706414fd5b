import type { Counter, Gauge, Metrics } from '../../core/metrics.ts';

/** What is counted of TLS; only where it is spoken. */
export interface TlsMetrics {
  /** Handshakes completed, by the group agreed on. */
  connections(group: string): Counter;
  readonly servedClassical: Counter;
  readonly refusedClassical: Counter;
  readonly helloRetries: Counter;
  readonly takenCertificates: Counter;
  readonly refusedCertificates: Counter;
  /** 1 while the files are others than those in use. */
  readonly certificateRefused: Gauge;
  /** Unix seconds. */
  readonly certificateNotAfter: Gauge;
}

/** Names what is counted; a listener in clear has the names alone, without a value that would be told of nothing. */
export function createTlsMetrics(metrics: Metrics): () => TlsMetrics {
  const connections = metrics.counter({
    name: 'stathera_tls_connections_total',
    help: 'TLS handshakes completed, by the group agreed on.',
    labels: ['group'],
    maxSeries: 10,
  });
  const classical = metrics.counter({
    name: 'stathera_tls_classical_clients_total',
    help: 'Connections of clients without a post-quantum group, by what they got.',
    labels: ['outcome'],
  });
  const helloRetries = metrics.counter({
    name: 'stathera_tls_hello_retries_total',
    help: 'Handshakes completed after a HelloRetryRequest.',
  });
  const reloads = metrics.counter({
    name: 'stathera_tls_certificate_reloads_total',
    help: 'Changed certificate files that were taken, or refused.',
    labels: ['outcome'],
  });
  const certificateRefused = metrics.gauge({
    name: 'stathera_tls_certificate_refused',
    help: '1 while the certificate files cannot be taken and the pair before them is in use.',
  });
  const certificateNotAfter = metrics.gauge({
    name: 'stathera_tls_certificate_not_after_seconds',
    help: 'When the certificate in use ends, in Unix seconds.',
  });
  return () => ({
    connections: (group) => connections.with({ group }),
    servedClassical: classical.with({ outcome: 'served' }),
    refusedClassical: classical.with({ outcome: 'refused' }),
    helloRetries: helloRetries.with({}),
    takenCertificates: reloads.with({ outcome: 'taken' }),
    refusedCertificates: reloads.with({ outcome: 'refused' }),
    certificateRefused: certificateRefused.with({}),
    certificateNotAfter: certificateNotAfter.with({}),
  });
}
