import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect } from 'node:tls';
import type { Config } from '../../config.ts';
import { hybridGroup } from '../../http/tls/groups.ts';
import { ownUrl } from '../health.ts';
import { type Finding, ok, unchecked, warning } from './finding.ts';

const hybrid = hybridGroup.name;
const check = 'handshake';

/** What the running service agrees on with a client that has the post-quantum group, and its certificate. */
export async function checkHandshake(config: Config): Promise<Finding[]> {
  if (config.tls === undefined) return [];
  const { certFile, classicalClients } = config.tls;
  const url = ownUrl(config);
  const met = config.listen.port === 0 ? undefined : await shakeHands(url, 3_000);
  if (met === undefined) {
    return [unchecked(check, `nothing speaks TLS at ${url}`, 'start the service, then look again')];
  }
  if (met.group !== hybrid) {
    const next = `look at what listens there: the service prefers ${hybrid}`;
    return [warning(check, `keys come from ${met.group}, which a quantum computer breaks`, next)];
  }
  if (met.fingerprint !== fingerprintOf(certFile)) {
    const next = 'look for tls.reload-refused in its log; a change takes some seconds';
    return [warning(check, `another certificate is served than is in ${certFile}`, next)];
  }
  const others = classicalClients === 'served' ? 'served with X25519' : 'refused';
  return [ok(check, `${hybrid}; clients without it are ${others}`)];
}

/** Undefined where nobody does so within the time. */
function shakeHands(
  url: string,
  withinMs: number,
): Promise<{ group: string; fingerprint: string | undefined } | undefined> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    const host = hostname.replace(/^\[|\]$/g, '');
    // Its certificate names what others call it by; no secret is sent.
    const socket = connect({ host, port: Number(port), rejectUnauthorized: false });
    socket.setTimeout(withinMs, () => socket.destroy());
    socket.on('error', () => {}).on('close', () => resolve(undefined));
    socket.on('secureConnect', () => {
      const info = socket.getEphemeralKeyInfo();
      const name = info !== null && 'name' in info ? info.name : undefined;
      resolve({ group: name ?? 'no group', fingerprint: socket.getPeerX509Certificate()?.fingerprint256 });
      socket.end();
    });
  });
}

function fingerprintOf(certFile: string): string | undefined {
  try {
    return new X509Certificate(readFileSync(certFile)).fingerprint256;
  } catch {
    return undefined;
  }
}
