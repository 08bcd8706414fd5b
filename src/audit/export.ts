import { open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fsyncPath, mkdirDurably } from '../core/durable-file.ts';
import { nodeFiles, reading, type SegmentReader } from './files.ts';
import { localPlace } from './local-place.ts';
import { listSegments } from './place.ts';
import { type PlaceOptions, placeOf } from './place-of.ts';
import { segmentRows } from './registry.ts';
import { unavailable } from './unavailable.ts';

export interface Exported {
  /** Written now, and there already. */
  readonly written: readonly string[];
  readonly kept: number;
  /** Not sealed yet: the next time. */
  readonly unsealed: readonly string[];
}

const pieceBytes = 1024 * 1024;

/**
 * Copies the sealed segments to files, byte for byte, which `verifyAudit` takes for the log. One that is there is not
 * written again. Everything it tells of is durable on return.
 * @param to made when it is not there
 * @throws audit/unavailable when a file there is another than the segment, or a segment cannot be read
 */
export async function exportSegments(options: PlaceOptions & { readonly to: string }): Promise<Exported> {
  const { store, to } = options;
  const place = placeOf(options);
  mkdirDurably(to);
  const there = new Set(await listSegments(localPlace(to)));
  const written: string[] = [];
  const unsealed: string[] = [];
  let kept = 0;
  for (const { file, last_sequence: last, loss_accepted_at: lost } of await segmentRows(store.db)) {
    if (lost !== null) continue;
    if (last === null) {
      unsealed.push(file);
      continue;
    }
    const path = join(to, file);
    await reading(place.files, join(place.directory, file), async (reader) => {
      if (there.has(file)) {
        await expectSame(reader, path);
        kept += 1;
        return;
      }
      await copy(reader, path);
      written.push(file);
    });
  }
  fsyncPath(to);
  return { written, kept, unsealed };
}

async function expectSame(reader: SegmentReader, path: string): Promise<void> {
  const bytes = await reading(nodeFiles, path, (file) => file.size());
  if (bytes === (await reader.size())) return;
  throw unavailable(
    `${path} is another file than the segment: move it away, or export to another directory.`,
  );
}

/** The file has its name when it is whole. */
async function copy(reader: SegmentReader, path: string): Promise<void> {
  const temporary = `${path}.tmp`;
  const file = await open(temporary, 'w', 0o600);
  try {
    for (let offset = 0; ; ) {
      const bytes = await reader.read(offset, pieceBytes);
      if (bytes.length === 0) break;
      await file.writeFile(bytes);
      offset += bytes.length;
    }
    await file.sync();
  } catch (error) {
    await file.close();
    await rm(temporary, { force: true });
    throw error;
  }
  await file.close();
  await rename(temporary, path);
}
