import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  createReadStream,
  existsSync,
  readdirSync,
  readFileSync,
  statSync,
} from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { childEnvironment, mainFile, runMain } from '../support/data.ts';
import { startTestService } from '../support/service.ts';

/** One command of the show. */
export interface Step {
  readonly command: string;
  readonly seconds: number;
  /** Of its process, where /proc tells. */
  readonly peakBytes: number | undefined;
}

export interface Shown {
  readonly steps: readonly Step[];
  /** SHA-256 of the file before and after. */
  readonly before: string;
  readonly after: string;
  /** Bytes that the rewrap changed in the first KiB, and whether it changed any after it. */
  readonly changed: { readonly header: number; readonly payload: boolean };
}

const pieceBytes = 1024 * 1024;

/** Writes a file of the machine's programs and libraries, one after the other, as often as it takes. @returns its SHA-256 */
async function collectBinaries(to: string, bytes: number): Promise<string> {
  const names = ['/usr/bin', '/usr/sbin'].filter(existsSync).flatMap((folder) =>
    readdirSync(folder)
      .toSorted()
      .map((name) => join(folder, name))
      .filter(isReadable),
  );
  const hash = createHash('sha256');
  const file = await open(to, 'wx', 0o600);
  let left = bytes;
  try {
    while (left > 0) {
      const before = left;
      for (const name of names) {
        for await (const piece of piecesOf(name, left)) {
          hash.update(piece);
          await file.writeFile(piece);
          left -= piece.length;
        }
      }
      if (left === before) throw new Error('this machine has no programs to read');
    }
  } finally {
    await file.close();
  }
  return hash.digest('hex');
}

/** The beginning of a file, up to so many bytes. */
async function* piecesOf(path: string, most: number): AsyncGenerator<Buffer> {
  if (most === 0) return;
  yield* createReadStream(path, { end: most - 1, highWaterMark: pieceBytes }) as AsyncIterable<Buffer>;
}

function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

async function sha256Of(path: string, start = 0): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path, { start, highWaterMark: pieceBytes }))
    hash.update(piece as Buffer);
  return hash.digest('hex');
}

/** Runs one command of the command line and watches its memory. @throws when it fails */
async function step(env: Readonly<Record<string, string>>, args: readonly string[]): Promise<Step> {
  const started = performance.now();
  const child = spawn(process.execPath, [mainFile, ...args], {
    env: childEnvironment(env),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let peakBytes: number | undefined;
  const watch = setInterval(() => {
    peakBytes = peakOf(child.pid ?? 0) ?? peakBytes;
  }, 5);
  const said = text(child.stderr);
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  clearInterval(watch);
  const seconds = (performance.now() - started) / 1000;
  if (code !== 0) throw new Error(`stathera ${args.join(' ')} ended with ${code}: ${await said}`);
  return { command: args.slice(0, args[0] === 'keys' ? 2 : 1).join(' '), seconds, peakBytes };
}

/** The high-water mark of a process's resident memory. */
function peakOf(pid: number): number | undefined {
  try {
    const kib = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return kib === undefined ? undefined : Number(kib) * 1024;
  } catch {
    return undefined;
  }
}

async function difference(path: string, start: Buffer, rest: string): Promise<Shown['changed']> {
  const bytes = await readStart(await open(path));
  return {
    header: bytes.reduce((count, byte, index) => count + (byte === start[index] ? 0 : 1), 0),
    payload: (await sha256Of(path, headBytes)) !== rest,
  };
}

const headBytes = 1024;

async function readStart(file: Awaited<ReturnType<typeof open>>): Promise<Buffer> {
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(headBytes), 0, headBytes, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/**
 * Encrypts a file of the machine's own programs by the command line, rotates its key, rewraps and decrypts it, against
 * a real service that it starts.
 * @param directory an empty one, with room for twice the bytes; nothing of the file is left in it
 */
export async function show(directory: string, bytes: number, say: (text: string) => void): Promise<Shown> {
  const [plain, sealed, opened] = ['plain', 'plain.stathera', 'opened'].map((name) =>
    join(directory, name),
  ) as [string, string, string];
  say(`making a file of ${bytes} bytes of this machine's programs`);
  const before = await collectBinaries(plain, bytes);
  const dataDir = join(directory, 'data');
  await runMain(['init'], { STATHERA_DATA_DIR: dataDir });
  const service = await startTestService({ dataDir });
  const env = { STATHERA_URL: service.url, STATHERA_TOKEN_FILE: join(dataDir, 'bootstrap-token') };
  const steps: Step[] = [];
  const act = async (...args: string[]) => {
    say(`stathera ${args.join(' ')}`);
    steps.push(await step(env, args));
  };
  try {
    await act('keys', 'create', 'show');
    await act('encrypt', '--key', 'show', '--context', 'show=yes', plain);
    await rm(plain);
    const [start, rest] = [await readStart(await open(sealed)), await sha256Of(sealed, headBytes)];
    await act('keys', 'rotate', 'show');
    await act('rewrap', '--context', 'show=yes', sealed);
    const changed = await difference(sealed, start, rest);
    await act('decrypt', '--context', 'show=yes', sealed, '-o', opened);
    return { steps, before, after: await sha256Of(opened), changed };
  } finally {
    await service.stop();
    await Promise.all([plain, sealed, opened].map((path) => rm(path, { force: true })));
  }
}
