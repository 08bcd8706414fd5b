import { readFileSync, statSync } from 'node:fs';
import { z } from 'zod';
import { fingerprintOf, type PublicKeyAnswer, type SealingKey, sealingKey } from '../client/node/sealing.ts';
import { fromBase64, toBase64 } from '../core/bytes.ts';
import { Failed } from './failed.ts';

/** More than the longest public key takes. */
const limitBytes = 16 * 1024;

/** A file with a public key, as `stathera keys public-key` prints it. */
const publicKeyFile = z.object({
  algorithm: z.string(),
  suite: z.string(),
  keyId: z.string(),
  keyVersion: z.int(),
  publicKey: z.string(),
});

export function publicKeyText({ publicKey, algorithm, suite, keyId, keyVersion }: PublicKeyAnswer) {
  const fingerprint = fingerprintOf(publicKey);
  return { ...{ keyId, keyVersion, algorithm, suite, fingerprint }, publicKey: toBase64(publicKey) };
}

/** Without the end of its last line. @throws Failed for an algorithm that has none */
export function pemOf({
  algorithm,
  pem,
}: {
  readonly algorithm: string;
  readonly pem?: string | undefined;
}): string {
  if (pem === undefined) throw new Failed(`there is no PEM of ${algorithm}: take its JSON, without --pem`);
  return pem.trimEnd();
}

/** @param fingerprints each key must have one of them; undefined: any. @throws Failed, the system's error */
export function readSealingKeys(
  files: readonly string[],
  fingerprints: readonly string[] | undefined,
): SealingKey[] {
  return files.map((file) => {
    try {
      return sealingKey(readPublicKey(file), fingerprints);
    } catch (error) {
      if (error instanceof TypeError) throw new Failed(`${file}: ${error.message}`);
      throw error;
    }
  });
}

function readPublicKey(file: string): PublicKeyAnswer {
  const text = statSync(file).size > limitBytes ? undefined : readFileSync(file, 'utf8');
  const parsed = publicKeyFile.safeParse(jsonOf(text));
  const publicKey = parsed.success ? fromBase64(parsed.data.publicKey) : undefined;
  if (!parsed.success || publicKey === undefined)
    throw new Failed(`${file} holds no public key: \`stathera keys public-key KEY > FILE\` writes one`);
  return { ...parsed.data, publicKey };
}

function jsonOf(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : (JSON.parse(text) as unknown);
  } catch {
    return undefined;
  }
}
