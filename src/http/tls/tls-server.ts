import type { Server } from 'node:https';
import { type ConnectionLimits, createSecureServer, handshakeTimeoutOf } from '../connections.ts';
import type { Desk } from '../exchange.ts';
import {
  ownCertificate,
  readPair,
  stampOf,
  type TlsFiles,
  type TlsOptions,
  type WatchOptions,
  watchPair,
} from './certificate.ts';
import { type ClassicalClients, groupsFor, opensslGroups } from './groups.ts';
import { observeHandshakes } from './handshakes.ts';

/** TLS 1.3 alone, X25519MLKEM768 preferred. */
export interface TlsSettings extends TlsFiles {
  /** What a client gets that has no post-quantum group: X25519, or nothing. Default `served`. */
  readonly classicalClients?: ClassicalClients;
  /** How often the files are looked at; a change is taken at the second look. Default 2,000. */
  readonly pollMs?: number;
}

/**
 * A server whose certificate follows its files, and that tells of each connection's group. The watch ends when the
 * server is closed.
 * @throws Error when the certificate or its key cannot be used
 */
export async function createTlsServer(
  tls: TlsSettings,
  desk: Desk,
  limits: ConnectionLimits = {},
): Promise<Server> {
  const groups = groupsFor(tls.classicalClients ?? 'served');
  const options: TlsOptions = { minVersion: 'TLSv1.3', ecdhCurve: opensslGroups(groups) };
  const stamp = await stampOf(tls);
  const pair = readPair(tls);
  let server: Server;
  try {
    server = createSecureServer({ ...options, ...pair }, limits);
  } finally {
    pair.key.fill(0);
  }
  observeHandshakes(server, desk, { groups, timeoutMs: handshakeTimeoutOf(limits) });
  const metrics = desk.metrics.tls();
  const certificate = ownCertificate(pair.cert);
  metrics.certificateNotAfter.set(certificate.validToDate.getTime() / 1000);
  const watch: WatchOptions = {
    options,
    pollMs: tls.pollMs ?? 2_000,
    certificate,
    now: () => Date.now(),
    take(taken, { validToDate, fingerprint256 }) {
      server.setSecureContext({ ...options, ...taken });
      metrics.takenCertificates.add();
      metrics.certificateRefused.set(0);
      metrics.certificateNotAfter.set(validToDate.getTime() / 1000);
      desk.log.info({ fingerprint: fingerprint256, notAfter: validToDate.toISOString() }, 'tls.reloaded');
    },
    refuse(reason) {
      metrics.refusedCertificates.add();
      metrics.certificateRefused.set(1);
      desk.log.warn({ reason }, 'tls.reload-refused');
    },
  };
  // One that never listens, its port taken, is never closed.
  server.once('listening', () => server.once('close', watchPair(tls, stamp, watch)));
  return server;
}
