import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Config } from '../../config.ts';
import type { Clock } from '../../core/clock.ts';
import { askHealth, ownUrl } from '../health.ts';
import { type Finding, failed, ok, unchecked, warning } from './finding.ts';
import { dateOf, spanOf } from './text.ts';

const expiryNoticeMs = 30 * 24 * 60 * 60 * 1000;

/** Where the service listens, and with which certificate. */
export function checkListener({ listen, tls, allowCleartext }: Config, clock: Clock): Finding[] {
  const check = 'listener';
  const place = `${listen.host}:${listen.port}`;
  if (tls) return [ok(check, `${place}, TLS 1.3`), checkCertificate(tls, clock)];
  if (/^(?:127\.|::1$|localhost$)/.test(listen.host)) {
    return [ok(check, `${place}, in clear, loopback only`)];
  }
  const next = 'set STATHERA_TLS_CERT_FILE and STATHERA_TLS_KEY_FILE';
  return allowCleartext
    ? [warning(check, `${place} in clear: tokens and plaintexts can be read on the way`, next)]
    : [failed(check, `${place} is not loopback and has no TLS: serve refuses it`, next)];
}

function checkCertificate({ certFile, keyFile }: NonNullable<Config['tls']>, clock: Clock): Finding {
  const check = 'certificate';
  let certificate: X509Certificate;
  try {
    // Of a chain, the first: the service's own.
    certificate = new X509Certificate(readFileSync(certFile));
  } catch {
    const next = 'make it a PEM file that the user of the service can read, its own certificate first';
    return failed(check, `${certFile} holds no certificate`, next);
  }
  const keyText = readKey(keyFile);
  try {
    if (!certificate.checkPrivateKey(createPrivateKey(keyText))) {
      return failed(check, `${keyFile} is not the key of ${certFile}`, 'put the two of one issue there');
    }
  } catch {
    const next = 'make it a PEM file without a passphrase that the user of the service can read';
    return failed(check, `${keyFile} holds no private key that can be used`, next);
  } finally {
    keyText.fill(0);
  }
  return judgeCertificate(certificate, clock);
}

function readKey(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch {
    return Buffer.alloc(0);
  }
}

function judgeCertificate(certificate: X509Certificate, clock: Clock): Finding {
  const check = 'certificate';
  const names = certificate.subjectAltName;
  const next = 'renew it: the service takes changed files by itself';
  const [from, to] = [certificate.validFromDate.getTime(), certificate.validToDate.getTime()];
  const left = to - clock.now();
  if (from > clock.now()) {
    return failed(check, `not valid before ${dateOf(from)}`, 'check the clock, or use one that is valid');
  }
  if (left <= 0) return failed(check, `expired on ${dateOf(to)}`, next);
  if (names === undefined) {
    return failed(check, 'it names no host (no subjectAltName)', 'renew it with the names that clients call');
  }
  const text = `${names}, valid until ${dateOf(to)}`;
  return left < expiryNoticeMs ? warning(check, `${text}: ${spanOf(left)} left`, next) : ok(check, text);
}

/** Whether it runs, as it says itself. */
export async function checkService(config: Config): Promise<Finding> {
  const check = 'service';
  if (config.listen.port === 0) {
    return unchecked(check, 'its port is any free one', 'look at its log, or set STATHERA_LISTEN to a port');
  }
  const url = ownUrl(config);
  switch (await askHealth(config, 3_000)) {
    case 'ready':
      return ok(check, `ready at ${url}`);
    case 'not ready':
      return failed(
        check,
        `not ready at ${url}`,
        `look at ${url}/readyz and at the service’s log for what is away`,
      );
    case 'not ours':
      return failed(
        check,
        `another program answers at ${url}`,
        'end it, or set STATHERA_LISTEN to another port',
      );
    case 'silent':
      return warning(
        check,
        `nothing answers at ${url}`,
        'start it with `stathera serve`, or see its log for why it ended',
      );
  }
}
