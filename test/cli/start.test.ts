import { expect, test } from 'vitest';
import { loadedBy } from '../support/loaded.ts';

/** Guarantees that a command does not pay for others at its start: nothing of the service, of the client, of packages. */
test('what the program loads before it knows the command', () => {
  const loaded = [...loadedBy('src/main.ts').keys()];
  expect(loaded).toContain('src/cli/keys.ts');
  const packages = loaded.filter((name) => !name.startsWith('src/') && !name.startsWith('node:'));
  expect(packages).toEqual(['commander']);
  expect(loaded.filter((name) => /^src\/(?!cli\/|main\.ts$|version\.ts$)/.test(name)).toSorted()).toEqual([
    'src/access/scopes.ts',
    'src/crypto/suites.ts',
  ]);
});

/** Guarantees that an encryption loads no package and nothing that speaks HTTP by a way that loads Node's fetch. */
test.each(['src/cli/local-files.ts', 'src/cli/connect.ts'])('what %s loads', (path) => {
  const loaded = [...loadedBy(path).keys()];
  expect(loaded.length).toBeGreaterThan(15);
  const others = loaded.filter((name) => !name.startsWith('src/') && !name.startsWith('node:'));
  expect(others).toEqual([]);
  for (const name of ['node:http', 'node:https']) expect(loaded).not.toContain(name);
});
