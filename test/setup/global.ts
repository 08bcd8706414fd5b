import { rmSync } from 'node:fs';
import type { TestProject } from 'vitest/node';
import { compiledDirectory, templateDirectory } from '../support/data.ts';

declare module 'vitest' {
  interface ProvidedContext {
    readonly seed: number;
  }
}

/** Says once a run what is needed to repeat it. */
export function setup(project: TestProject): void {
  const major = Number(process.versions.node.split('.')[0]);
  if (major < 24) throw new Error(`the tests need Node 24 or later, this is ${process.version}`);
  const seed = project.config.provide.seed;
  const scale = process.env['STATHERA_TEST_SCALE'] ?? 'default';
  process.stdout.write(
    `node ${process.version}, seed ${seed} (STATHERA_TEST_SEED=${seed} repeats it), scale ${scale}\n`,
  );
  // The processes that run tests write there as they end, after the teardown.
  const compiled = compiledDirectory(process.pid);
  process.once('exit', () => rmSync(compiled, { recursive: true, force: true }));
}

/** The initialized data directory that tests copy. */
export function teardown(): void {
  rmSync(templateDirectory(process.pid), { recursive: true, force: true });
}
