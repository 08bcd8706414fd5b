import { fork } from 'node:child_process';
import { once } from 'node:events';
import { realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { confinedStart } from '../../src/aggregate/queries/decryptor.ts';

/** Guarantees the process that decrypts reads no files but the code, writes none, starts nothing, and loads nothing that speaks to a network; SEAL it loads. */
test('confined', async () => {
  const { args, execArgv } = confinedStart();
  const program = realpathSync(fileURLToPath(new URL('confined/child.ts', import.meta.url)));
  const child = fork(program, args, {
    // It may read itself, to be started at all.
    execArgv: [...execArgv, `--allow-fs-read=${program}`],
    ...{ env: {}, serialization: 'advanced', stdio: ['ignore', 'ignore', 'inherit', 'ipc'] },
  });
  const [{ outcomes, environment }] = (await once(child, 'message')) as [
    { outcomes: Record<string, string>; environment: string[] },
  ];
  const done = Object.keys(outcomes).filter((name) => outcomes[name] === 'done');
  expect(done).toEqual(['readOwn', 'seal']);
  expect(Object.keys(outcomes).length).toBeGreaterThan(15);
  // What fork itself needs for the channel.
  expect(environment.filter((name) => !name.startsWith('NODE_'))).toEqual([]);
});

/** Guarantees its memory is bounded, by its own arguments. */
test('bounded', () => {
  const { execArgv } = confinedStart();
  expect(execArgv).toContain('--max-old-space-size=128');
  expect(execArgv).toContain('--wasm-max-mem-pages=4096');
  const readable = execArgv.filter((argument) => argument.startsWith('--allow-'));
  expect(readable.every((argument) => argument.startsWith('--allow-fs-read='))).toBe(true);
  expect(readable).toHaveLength(3);
});
