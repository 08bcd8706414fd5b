import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { schemes } from '../crypto/signatures/schemes.ts';
import { type SignAlgorithm, signAlgorithms } from '../crypto/suites.ts';
import { Failed } from './failed.ts';

/** What the service takes in one request. */
const messageLimitBytes = 720 * 1024;
const signatureLimitBytes = 64 * 1024;

interface Shown {
  readonly algorithm: string;
  readonly publicKey: Uint8Array;
  readonly keyVersion: number;
}

/** The message, or what stands for it, with the context it is signed in. */
type Content = { context?: Uint8Array } & (
  | { message: Uint8Array }
  | { digest: Uint8Array }
  | { mu: Uint8Array }
);

/**
 * Reads what is signed: a small file is sent as it is, of a large one its hash, where the algorithm has one for it.
 * @param file undefined is stdin. @throws Failed for one that is too large for the algorithm
 */
export async function readSigned(file: string | undefined, shown: Shown, context?: string): Promise<Content> {
  const bound = Buffer.from(context ?? '');
  const hash = hashFor(shown, bound);
  const kept: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of file === undefined ? process.stdin : createReadStream(file)) {
    const part = chunk as Buffer;
    hash?.update(part);
    bytes += part.length;
    if (bytes <= messageLimitBytes) kept.push(part);
    else if (hash === undefined) throw tooLarge(shown.algorithm);
  }
  const inContext = bound.length > 0 && { context: bound };
  if (bytes <= messageLimitBytes) return { message: Buffer.concat(kept), ...inContext };
  if (hash === undefined) throw tooLarge(shown.algorithm);
  // A mu has its context in it.
  return hash.isMu ? { mu: hash.digest() } : { digest: hash.digest(), ...inContext };
}

interface Hash {
  readonly isMu: boolean;
  update(part: Uint8Array): unknown;
  digest(): Uint8Array;
}

function hashFor({ algorithm, publicKey }: Shown, context: Uint8Array): Hash | undefined {
  if (!isSigning(algorithm)) throw new Failed('This key is not for signatures.');
  const { forms, hashes } = schemes[algorithm];
  const [name] = hashes;
  if (forms.includes('digest') && name !== undefined) return Object.assign(createHash(name), { isMu: false });
  if (!forms.includes('mu')) return undefined;
  if (context.length > 255) throw new Failed('A context has at most 255 bytes.');
  // FIPS 204, algorithm 2 line 10 and algorithm 7 line 6.
  const shake = () => createHash('shake256', { outputLength: 64 });
  const mu = shake().update(shake().update(publicKey).digest());
  return Object.assign(mu.update(Uint8Array.of(0, context.length)).update(context), { isMu: true });
}

function isSigning(algorithm: string): algorithm is SignAlgorithm {
  return (signAlgorithms as readonly string[]).includes(algorithm);
}

function tooLarge(algorithm: string): Failed {
  return new Failed(
    `${algorithm} signs at most 720 KiB here: sign a hash of the file, or use another algorithm.`,
  );
}

/** @throws Failed when another version signed than the one that a mu was made for; FileExists */
export async function writeSignature(
  { output, force }: { output: string; force: boolean },
  signature: Uint8Array,
  { made, shown, content }: { made: { keyVersion: number }; shown: Shown; content: Content },
): Promise<void> {
  if ('mu' in content && made.keyVersion !== shown.keyVersion)
    throw new Failed('The key was rotated meanwhile: sign again.');
  if (output === '-') {
    process.stdout.write(signature);
    return;
  }
  try {
    await writeFile(output, signature, { flag: force ? 'w' : 'wx' });
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    throw Object.assign(new Error(`${output} exists`), { name: 'FileExists' });
  }
}

export async function readSignature(file: string): Promise<Uint8Array> {
  const bytes = await readFile(file);
  if (bytes.length > signatureLimitBytes) throw new Failed(`${file} is no signature: it is too long.`);
  return bytes;
}
