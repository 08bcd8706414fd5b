import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Certificates {
  /** The authority that whoever calls must trust, PEM. */
  readonly ca: string;
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
}

/**
 * An authority of two days and a certificate of it for 127.0.0.1, made by openssl. The authority's key is not kept.
 * @param folder where they are written
 */
export function issueCertificates(folder: string): Certificates {
  const place = (name: string) => join(folder, name);
  const openssl = (...args: string[]) => {
    try {
      execFileSync('openssl', args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
    } catch (error) {
      const absent = (error as NodeJS.ErrnoException).code === 'ENOENT';
      throw absent ? new Error('openssl is not there: it makes the certificates. Install it.') : error;
    }
  };
  const newKey = (file: string) => [
    ...['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', file],
  ];
  openssl('req', '-x509', '-days', '2', ...newKey('ca.key'), '-out', 'ca.pem', '-subj', '/CN=demo authority');
  openssl('req', '-new', ...newKey('tls.key'), '-out', 'tls.csr', '-subj', '/CN=stathera');
  writeFileSync(place('tls.ext'), 'basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1\n');
  const authority = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial'];
  openssl(
    'x509',
    '-req',
    '-days',
    '2',
    '-in',
    'tls.csr',
    ...authority,
    '-extfile',
    'tls.ext',
    '-out',
    'tls.pem',
  );
  rmSync(place('ca.key'));
  return {
    ca: readFileSync(place('ca.pem'), 'utf8'),
    caFile: place('ca.pem'),
    certFile: place('tls.pem'),
    keyFile: place('tls.key'),
  };
}
