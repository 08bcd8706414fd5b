import { closeSync, existsSync, fstatSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { wipe } from '../../core/bytes.ts';
import { fsyncPath, writeDurably } from '../../core/durable-file.ts';

/**
 * The PIN file and its latch. A real token counts wrong PINs and locks for good, so a PIN the token
 * refused is never tried again: `<pinFile>.refused` records which file it was (inode, modification time
 * and size) for every process and every later start, until the file changes.
 */
export interface PinFileIdentity {
  readonly ino: string;
  readonly mtimeNs: string;
  readonly size: string;
}

export interface Pin {
  readonly text: string;
  readonly file: PinFileIdentity;
}

function latchPath(pinFile: string): string {
  return `${pinFile}.refused`;
}

function identity(stats: { ino: bigint; mtimeNs: bigint; size: bigint }): PinFileIdentity {
  return { ino: `${stats.ino}`, mtimeNs: `${stats.mtimeNs}`, size: `${stats.size}` };
}

/** Reads the PIN and, from the same open file, what identifies it. Only ever called off the main thread. */
export function readPin(pinFile: string): Pin {
  const file = openSync(pinFile, 'r');
  try {
    // No pattern is matched against it: V8 keeps the last text that one matched.
    const bytes = readFileSync(file);
    let end = bytes.length;
    if (bytes[end - 1] === 0x0a) end -= bytes[end - 2] === 0x0d ? 2 : 1;
    const text = bytes.toString('utf8', 0, end);
    wipe(bytes);
    return { text, file: identity(fstatSync(file, { bigint: true })) };
  } finally {
    closeSync(file);
  }
}

/** V8's young generation and more: 16 MiB were measured to do. */
const forgottenBytes = 32 * 1024 * 1024;

/**
 * Overwrites what was a string and is held by nobody any more: strings cannot be wiped, and a thread that has
 * little to do would keep them for hours. Takes about 10 ms.
 */
export function overwriteForgottenStrings(): void {
  for (let made = 0; made < forgottenBytes; made += 8192) new Array<number>(1024).fill(made);
}

/** True while the PIN file is the one the token refused. */
export function pinRefused(pinFile: string): boolean {
  let latch: unknown;
  try {
    latch = JSON.parse(readFileSync(latchPath(pinFile), 'utf8'));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    // An unreadable latch says that some PIN was refused: rather refuse than spend a try.
    return true;
  }
  if (typeof latch !== 'object' || latch === null) return true;
  const current = identity(statSync(pinFile, { bigint: true }));
  return samePinFile(current, latch);
}

export function samePinFile(current: PinFileIdentity, recorded: object): boolean {
  const fields: Record<string, unknown> = { ...recorded };
  return (['ino', 'mtimeNs', 'size'] as const).every((field) => fields[field] === current[field]);
}

/** Records durably that the token refused this PIN file. */
export function latchPin(pinFile: string, file: PinFileIdentity, returnValue: number): void {
  writeDurably(latchPath(pinFile), `${JSON.stringify({ ...file, returnValue })}\n`);
}

/** Forgets an older refusal, after a login that went well. */
export function clearPinLatch(pinFile: string): void {
  if (!existsSync(latchPath(pinFile))) return;
  rmSync(latchPath(pinFile), { force: true });
  fsyncPath(dirname(pinFile));
}
