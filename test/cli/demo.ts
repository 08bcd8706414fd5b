// Shows the command line on a file of real programs: encrypted, its key rotated, rewrapped and decrypted, with times
// and peak memory. Run: npm run demo:client [-- --gib 10] [-- --directory DIR]; it needs twice the size on the disk.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { show } from './show.ts';

const { values } = parseArgs({
  options: { gib: { type: 'string', default: '2' }, directory: { type: 'string', default: tmpdir() } },
});
const bytes = Math.round(Number(values.gib) * 2 ** 30);
if (!(bytes > 0)) throw new Error('--gib must be a number above 0');
const directory = mkdtempSync(join(values.directory, 'stathera-demo-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
process.once('SIGINT', () => process.exit(130));

const print = (line: string) => void process.stdout.write(`${line}\n`);
const { steps, before, after, changed } = await show(
  directory,
  bytes,
  (text) => void process.stderr.write(`${text}\n`),
);
print('command      seconds    MB/s  peak MiB');
for (const { command, seconds, peakBytes } of steps) {
  const rate = /^(en|de)crypt$/.test(command) ? (bytes / 1e6 / seconds).toFixed(0) : '';
  const peak = peakBytes === undefined ? '?' : (peakBytes / 2 ** 20).toFixed(0);
  print(`${command.padEnd(12)} ${seconds.toFixed(2).padStart(7)} ${rate.padStart(7)} ${peak.padStart(9)}`);
}
print(
  `the rewrap changed ${changed.header} bytes of the header and ${changed.payload ? 'some' : 'none'} after it`,
);
print(
  `SHA-256 before ${before}\nSHA-256 after  ${after}\n${before === after ? 'identical' : 'NOT IDENTICAL'}`,
);
process.exitCode = before === after && !changed.payload ? 0 : 1;
