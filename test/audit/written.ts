import { readdirSync } from 'node:fs';
import { appendMany, type Place, place } from './support.ts';

/** A closed log over several segments. */
export async function written() {
  const here = await place();
  const log = await here.open({ limits: { segmentBytes: 3000 } });
  for (let group = 0; group < 8; group += 1) await appendMany(log, (group % 3) + 1);
  const head = log.head();
  await log.close();
  return { here, head, files: segmentFiles(here) };
}

function segmentFiles(here: Place): string[] {
  return readdirSync(here.audit)
    .filter((name) => name.endsWith('.ndjson'))
    .toSorted();
}

/** A file cut after each newline, byte for byte. */
export const lines = (bytes: Buffer) => bytes.toString('latin1').split(/(?<=\n)/);
export const joined = (parts: readonly string[]) => Buffer.from(parts.join(''), 'latin1');
