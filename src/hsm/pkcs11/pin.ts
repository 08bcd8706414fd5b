import { closeSync, existsSync, fstatSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
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
    const text = readFileSync(file, 'utf8').replace(/\r?\n$/, '');
    return { text, file: identity(fstatSync(file, { bigint: true })) };
  } finally {
    closeSync(file);
  }
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
