import type { Counter, Gauge, Metrics } from '../core/metrics.ts';
import { createTlsMetrics, type TlsMetrics } from './tls/tls-metrics.ts';

/** What is counted of HTTP. */
export interface HttpMetrics {
  /** The series of one operation; its name must come from a route row, not from a request. */
  operation(operationId: string): OperationMetrics;
  readonly inFlight: Gauge;
  readonly connections: Gauge;
  readonly droppedConnections: Counter;
  readonly malformedRequests: Counter;
  readonly failedHandshakes: Counter;
  /** For a listener that speaks it. */
  tls(): TlsMetrics;
}

export interface OperationMetrics {
  observe(status: number, seconds: number, bytesIn: number, bytesOut: number): void;
}

const buckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const statusClasses = ['1xx', '2xx', '3xx', '4xx', '5xx'] as const;

export function createHttpMetrics(metrics: Metrics): HttpMetrics {
  const requests = metrics.counter({
    name: 'stathera_http_requests_total',
    help: 'Requests answered, by operation and status class.',
    labels: ['operation', 'status'],
    maxSeries: 2000,
  });
  const duration = metrics.histogram({
    name: 'stathera_http_request_duration_seconds',
    help: 'Time from a request’s header to its answer.',
    labels: ['operation'],
    buckets,
  });
  const bytes = metrics.counter({
    name: 'stathera_http_body_bytes_total',
    help: 'Bytes of bodies read and written.',
    labels: ['direction'],
  });
  const bytesRead = bytes.with({ direction: 'in' });
  const bytesWritten = bytes.with({ direction: 'out' });
  const plain = (name: string, help: string) => metrics.counter({ name, help }).with({});
  const gauge = (name: string, help: string) => metrics.gauge({ name, help }).with({});

  return {
    tls: createTlsMetrics(metrics),
    operation(operation) {
      const byClass = statusClasses.map((status) => requests.with({ operation, status }));
      const seconds = duration.with({ operation });
      return {
        observe(status, elapsed, bytesIn, bytesOut) {
          byClass[Math.floor(status / 100) - 1]?.add();
          seconds.observe(elapsed);
          bytesRead.add(bytesIn);
          bytesWritten.add(bytesOut);
        },
      };
    },
    inFlight: gauge('stathera_http_requests_in_flight', 'Operations at work, those given up on included.'),
    connections: gauge('stathera_http_connections', 'Open connections.'),
    droppedConnections: plain('stathera_http_connections_dropped_total', 'Connections closed at the limit.'),
    malformedRequests: plain(
      'stathera_http_malformed_requests_total',
      'Messages that are not HTTP or too slow.',
    ),
    failedHandshakes: plain('stathera_tls_failed_handshakes_total', 'TLS handshakes that failed.'),
  };
}
