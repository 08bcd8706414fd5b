/**
 * The newest generation nobody waits for any more, shared by all threads: what is queued in a worker behind
 * a call that hung is dropped there, instead of being tried call by call on a device that may hang on each.
 */
export type Revocation = Int32Array<SharedArrayBuffer>;

export function createRevocation(): Revocation {
  return new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
}

/** Revokes `generation` and all before it. */
export function revoke(revocation: Revocation, generation: number): void {
  Atomics.store(revocation, 0, generation);
}

export function isRevoked(revocation: Revocation, generation: number): boolean {
  return generation <= Atomics.load(revocation, 0);
}
