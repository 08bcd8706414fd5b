import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { childEnvironment, emptyDirectory, projectRoot, removeDirectory } from '../support/data.ts';

/** The demo as `npm run demo:exchange` starts it, with a directory for temporary files of its own. */
async function startDemo(env: Readonly<Record<string, string>> = {}) {
  const directory = await emptyDirectory();
  onTestFinished(() => removeDirectory(directory));
  const child = spawn(process.execPath, [join(projectRoot, 'test/exchange/demo.ts')], {
    env: childEnvironment({ TMPDIR: directory, ...env }),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGINT'));
  const closed = once(child, 'close') as Promise<[number | null]>;
  const finished = async () => {
    const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), closed]);
    return {
      code,
      lines: stdout.split('\n').map((line) => line.trim()),
      stderr,
      left: readdirSync(directory),
    };
  };
  return { child, closed, finished, left: () => readdirSync(directory) };
}

/** What the demo is there to show; figures that differ between runs are left out. */
const shown = [
  /^ok +the client's TLS says TLSv1\.3 by X25519MLKEM768$/,
  /^ok +the service's log says X25519MLKEM768 of the same request$/,
  /^x-wing\/draft-\S+: a public key of 1,216 bytes$/,
  /^ml-dsa-65-ed25519\/draft-\S+: a public key of 1,984 bytes$/,
  /^ok +sealing asked the service for nothing$/,
  /^a signature of 3,373 bytes /,
  /^ok +the sender cannot open it: access\/denied$/,
  /^ok +the signature holds /,
  /^ok +the file is the one that was sent /,
  /^ok +one bit of the ML-DSA-65 half changed: signature\/invalid$/,
  /^ok +one bit of the Ed25519 half changed: signature\/invalid$/,
  /^ok +version 2 has another public key$/,
  /^the signature holds: version 1 of the key$/,
  /^ok +the new file opens with the new version$/,
  /^ok +the old file opens with the old one$/,
  /^ok +stathera_tls_classical_clients_total was 0 and is 1$/,
  /^ok +its version says where it came from: hpke-x-wing$/,
  /^ok +it is refused: handshake failure$/,
  /^ok +the imported key's MAC is the one that its owner makes$/,
  /^ok +all but one came by X25519MLKEM768$/,
  /^ok +of (\d+) requests made here, both ends name one group for \1$/,
  /^ok +the audit log of \d+ records is whole$/,
  /^all 33 checks hold /,
];

/** Guarantees that the demo shows what it says, in that order, with every check, and leaves nothing behind. */
test('the exchange', { timeout: 300_000 }, async () => {
  const { code, lines, stderr, left } = await (await startDemo()).finished();
  const text = lines.join('\n');
  expect([text, stderr, lines.filter((line) => line.startsWith('FAILED'))]).toEqual([text, '', []]);
  const places = shown.map((pattern) => lines.findIndex((line) => pattern.test(line)));
  expect(shown.filter((_, index) => places[index] === -1)).toEqual([]);
  expect(places).toEqual(places.toSorted((a, b) => a - b));
  expect([code, left]).toEqual([0, []]);
});

/** Guarantees that a demo that cannot go on says so, with the next step and by its exit code. */
test('without openssl', async () => {
  const { code, lines, stderr, left } = await (await startDemo({ PATH: '/nowhere' })).finished();
  expect(lines).toContain('FAILED openssl is not there: it makes the certificates. Install it.');
  expect([code, stderr, left]).toEqual([1, '', []]);
});

/** Guarantees that a demo that is interrupted ends its service and leaves nothing behind. */
test('interrupted', { timeout: 300_000 }, async () => {
  const { child, closed, left } = await startDemo();
  const url = await new Promise<string | undefined>((resolve) => {
    let said = '';
    child.stdout.on('data', (chunk) => {
      said += String(chunk);
      const [, found] = /listens on (\S+);/.exec(said) ?? [];
      if (found !== undefined) resolve(found);
    });
    child.once('close', () => resolve(undefined));
  });
  child.kill('SIGINT');
  expect([(await closed)[0], left()]).toEqual([130, []]);
  await expect(fetch(url ?? 'it did not start')).rejects.toMatchObject({ cause: { code: 'ECONNREFUSED' } });
});
