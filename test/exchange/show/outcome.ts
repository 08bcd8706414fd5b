import { isStatheraError } from '../../../src/client/node/index.ts';

/** With thousands marked. */
export const number = (value: number): string => value.toLocaleString('en-US');

/** The code that a call is refused with; `done` when it is not. */
export async function codeOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return 'done';
  } catch (error) {
    if (isStatheraError(error)) return error.code;
    throw error;
  }
}

/** @returns what the work gives, and the time it took */
export async function timed<Value>(work: () => Promise<Value>): Promise<[Value, string]> {
  const started = performance.now();
  const value = await work();
  return [value, `${(performance.now() - started).toFixed(0)} ms`];
}

/** The bytes with one bit changed. */
export function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const changed = Uint8Array.from(bytes);
  changed[at] = (changed[at] ?? 0) ^ 1;
  return changed;
}
