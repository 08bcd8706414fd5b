import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { projectRoot } from '../support/data.ts';

const read = (name: string): unknown => JSON.parse(readFileSync(join(projectRoot, name), 'utf8'));

interface Entry {
  readonly version: string;
  readonly license: string;
  readonly dev?: boolean;
}

interface Component {
  readonly name: string;
  readonly version: string;
  readonly purl: string;
  readonly hashes: readonly { readonly alg: string; readonly content: string }[];
  readonly licenses: readonly { readonly license?: { readonly id: string }; readonly expression?: string }[];
}

/** Guarantees that the bill of materials lists each package that is shipped, with version, hash and licence, and no other. */
test('the bill of materials is complete', ({ skip }) => {
  const npm = execFileSync('npm', ['--version'], { cwd: projectRoot, encoding: 'utf8' }).trim();
  skip(Number.parseInt(npm, 10) < 10, `npm ${npm} has no sbom`);
  const text = execFileSync('npm', ['run', '--silent', 'sbom'], { cwd: projectRoot, encoding: 'utf8' });
  const bill = JSON.parse(text) as { metadata: { component: Component }; components: Component[] };
  const { packages } = read('package-lock.json') as { packages: Record<string, Entry> };
  const expected = Object.entries(packages)
    .filter(([path, { dev }]) => path !== '' && dev !== true)
    .map(([path, { version, license }]) => `${path.replace(/^.*node_modules\//, '')} ${version} ${license}`);
  const listed = bill.components.map(
    ({ name, version, licenses }) =>
      `${name} ${version} ${licenses.map(({ license, expression }) => license?.id ?? expression).join()}`,
  );
  expect(listed.toSorted()).toEqual(expected.toSorted());
  for (const { name, hashes, purl } of bill.components) {
    expect([name, hashes.map(({ alg }) => alg)]).toEqual([name, ['SHA-512']]);
    expect(purl).toMatch(/^pkg:npm\//);
  }
  const { name, version, dependencies } = read('package.json') as {
    name: string;
    version: string;
    dependencies: Record<string, string>;
  };
  const names = bill.components.map((component) => component.name);
  expect(names).toEqual(expect.arrayContaining(Object.keys(dependencies)));
  expect([bill.metadata.component.name, bill.metadata.component.version]).toEqual([name, version]);
});
