import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect } from 'vitest';
import type { Ending } from './machine.ts';
import { compileShim } from './shim.ts';

export const endings: readonly Ending[] = [
  'kill',
  'power, nothing unsynced kept',
  'power, some unsynced kept',
];

/** Compiles the shim for the tests of a file, which are left out where that cannot be, but not in CI. */
export function usePreloaded(): string {
  const folder = mkdtempSync(join(tmpdir(), 'stathera-shim-'));
  const library = join(folder, 'unsynced.so');
  let missing: string | undefined;
  beforeAll(() => {
    missing = compileShim(library);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  beforeEach(({ skip }) => {
    if (process.env['CI'] === 'true') expect(missing).toBe(undefined);
    skip(missing !== undefined, missing);
  });
  return library;
}
