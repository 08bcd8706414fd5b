import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Copy, makeCopy } from './copy.ts';

let copy: Copy;
beforeAll(() => {
  copy = makeCopy(['package.json', 'package-lock.json', 'softhsm', 'src', 'tsconfig.json']);
});
afterAll(() => copy.remove());

/** Guarantees that a fresh copy becomes a working one by the set-up alone, and that the next finds all done. */
test('a fresh copy is set up once', { timeout: 300_000 }, async () => {
  const first = await copy.start().result;
  expect(first.stderr).toContain('installing the npm packages');
  expect(first, first.stderr).toMatchObject({ code: 0 });
  expect(copy.has('node_modules/pkcs11js/build/Release/pkcs11.node')).toBe(true);
  expect(copy.has('data/initialized')).toBe(true);
  expect(copy.has('data/bootstrap-token')).toBe(true);

  const again = await copy.start().result;
  expect(again).toMatchObject({ code: 0, stderr: '' });
  expect(again.milliseconds).toBeLessThan(1_000);
});
