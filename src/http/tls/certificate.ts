import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { createSecureContext, type SecureContextOptions } from 'node:tls';

/** PEM files: the chain, the service's own certificate first, and its private key. */
export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

interface Pair {
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** Why files are not taken. */
export type Reason = 'unreadable' | 'no-certificate' | 'no-key' | 'not-a-pair' | 'not-valid-now' | 'unusable';

/** How it speaks, which the certificate does not change. */
export type TlsOptions = Pick<SecureContextOptions, 'minVersion' | 'ecdhCurve'>;

/** @throws Error when a file cannot be read */
export function readPair({ certFile, keyFile }: TlsFiles): Pair {
  return { cert: readFileSync(certFile), key: readFileSync(keyFile) };
}

/** Reads the service's own certificate. @throws Error when there is none */
export function ownCertificate(cert: Buffer): X509Certificate {
  return new X509Certificate(cert);
}

export interface WatchOptions {
  readonly options: TlsOptions;
  readonly pollMs: number;
  /** The certificate in use. */
  readonly certificate: X509Certificate;
  /** Unix milliseconds. */
  readonly now: () => number;
  /** Given what can be used: certificate and key belong together. The key is wiped afterwards. */
  readonly take: (pair: Pair, certificate: X509Certificate) => void;
  /** Told once of each state of the files that is not taken; the pair before goes on. */
  readonly refuse: (reason: Reason) => void;
}

/**
 * Takes the files anew whenever they change, without events of the file system: those are lost over networks, binds
 * and changed links. A change is looked at when two looks in a row found it the same, so that files that are written
 * one after the other are seen together.
 * @param stampOfUsed what `stampOf` said before the pair in use was read
 * @returns the end of it
 */
export function watchPair(files: TlsFiles, stampOfUsed: string, watch: WatchOptions): () => void {
  let used = stampOfUsed;
  let seen = used;
  let told: string | undefined;
  let current = watch.certificate;
  let stopped = false;

  async function look(): Promise<void> {
    const stamp = await stampOf(files);
    const settled = stamp === seen;
    seen = stamp;
    if (!settled || stamp === used) return;
    const pair = await readBoth(files);
    try {
      const judged = pair === undefined ? 'unreadable' : judge(pair, watch, current);
      if (stopped || (await stampOf(files)) !== stamp) return;
      if (typeof judged !== 'string' && pair !== undefined) {
        watch.take(pair, judged);
        [used, current, told] = [stamp, judged, undefined];
      } else if (typeof judged === 'string' && told !== `${stamp} ${judged}`) {
        told = `${stamp} ${judged}`;
        watch.refuse(judged);
      }
    } finally {
      pair?.key.fill(0);
    }
  }

  let timer: NodeJS.Timeout;
  const next = () => {
    if (stopped) return;
    timer = setTimeout(() => void look().finally(next), watch.pollMs);
    timer.unref();
  };
  next();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

/** What changes whenever one of the files does, or the link to it. Never throws. */
export async function stampOf({ certFile, keyFile }: TlsFiles): Promise<string> {
  const stamps = [certFile, keyFile].map(async (file) => {
    const found = await stat(file, { bigint: true }).catch(() => undefined);
    return found === undefined
      ? 'absent'
      : [found.dev, found.ino, found.size, found.mtimeNs, found.ctimeNs].join(' ');
  });
  return (await Promise.all(stamps)).join(' ');
}

async function readBoth({ certFile, keyFile }: TlsFiles): Promise<Pair | undefined> {
  const [cert, key] = await Promise.all(
    [certFile, keyFile].map((file) => readFile(file).catch(() => undefined)),
  );
  if (cert !== undefined && key !== undefined) return { cert, key };
  key?.fill(0);
  return undefined;
}

function judge(
  pair: Pair,
  { options, now }: Pick<WatchOptions, 'options' | 'now'>,
  current: X509Certificate,
): X509Certificate | Reason {
  const certificate = attempt(() => ownCertificate(pair.cert));
  if (certificate === undefined) return 'no-certificate';
  const key = attempt(() => createPrivateKey(pair.key));
  if (key === undefined) return 'no-key';
  if (!certificate.checkPrivateKey(key)) return 'not-a-pair';
  // One that is not valid is no worse than another such one.
  if (!isValid(certificate, now()) && isValid(current, now())) return 'not-valid-now';
  return attempt(() => createSecureContext({ ...options, ...pair })) === undefined ? 'unusable' : certificate;
}

/** OpenSSL's texts may quote what it read: nothing of them is kept. */
function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}

function isValid({ validFromDate, validToDate }: X509Certificate, now: number): boolean {
  return validFromDate.getTime() <= now && now < validToDate.getTime();
}
