import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { readConfig } from '../../src/config.ts';
import { settings } from '../../src/settings.ts';
import { projectRoot } from '../support/data.ts';

const read = (path: string) => readFileSync(join(projectRoot, path), 'utf8');
const files = [
  'compose.yaml',
  'Dockerfile',
  ...globSync('docs/deploy/**/*.{yaml,service}', { cwd: projectRoot }),
];

/** Settings that a file names and the service does not have. */
function unknownIn(text: string): string[] {
  const names = text.match(/\bSTATHERA_[A-Z0-9_]+/g) ?? [];
  // The one that the manifests keep Kubernetes from setting.
  return names.filter((name) => !(name in settings) && name !== 'STATHERA_SERVICE_HOST');
}

/** Guarantees that what operators install names settings the service has: it ends on one that it does not know. */
test.each(files)('%s names settings that are there', (file) => {
  expect(unknownIn(read(file))).toEqual([]);
});

/** Guarantees that a setting that was renamed is noticed, and that the files are those that name settings. */
test('a name that is not there is noticed', () => {
  expect(files.length).toBeGreaterThan(6);
  expect(files.filter((file) => read(file).includes('STATHERA_')).length).toBeGreaterThan(4);
  expect(unknownIn('Environment=STATHERA_DATA_DIRECTORY=/var/lib')).toEqual(['STATHERA_DATA_DIRECTORY']);
});

/** Guarantees that the service takes the values: those of the composition and of the unit. */
test('the values are what the settings take', () => {
  const composition = parse(read('compose.yaml'), { merge: true }) as {
    services: { serve: { environment: Record<string, string>; stop_grace_period: string } };
  };
  const { environment, stop_grace_period: grace } = composition.services.serve;
  expect(readConfig(environment).shutdownMs / 1000 + 20).toBeLessThan(Number.parseInt(grace, 10));
  const unit = read('docs/deploy/stathera.service');
  const lines = [...unit.matchAll(/^Environment=(\w+)=(.*)$/gm)].map(([, name, value]) => [name, value]);
  expect(lines.length).toBeGreaterThan(0);
  const stopping = Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)?.[1]);
  expect(readConfig(Object.fromEntries(lines)).shutdownMs / 1000 + 20).toBeLessThan(stopping);
});
