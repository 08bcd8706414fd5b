import type { Command } from 'commander';
import { contribute, type EpochManifest, type Row } from '../client/node/aggregate/index.ts';
import { fromBase64 } from '../core/bytes.ts';
import { readCsv } from './csv.ts';
import { Failed } from './failed.ts';
import { interruptible } from './interrupt.ts';
import { print } from './output.ts';
import { openInput } from './pipes.ts';
import { createProgress } from './progress.ts';
import type { Surroundings } from './surroundings.ts';

interface Options {
  readonly dataset: string;
  readonly verificationKey?: string;
  readonly trustService?: true;
  readonly ordinal?: number;
  readonly quiet?: true;
  readonly json?: true;
}

/** Contributes what a CSV file comes to, and says what was counted. */
export async function contributeFile(
  file: string | undefined,
  command: Command,
  { client }: Surroundings,
): Promise<void> {
  const options = command.optsWithGlobals<Options>();
  const { dataset, ordinal, quiet, json } = options;
  const verificationKey = trustOf(command, options);
  const terminal = quiet === true || json === true ? undefined : process.stderr;
  const progress = createProgress(file ?? 'stdin', { terminal });
  const made = await interruptible(async (signal) => {
    const input = openInput(file, (done, total) => progress.update(done, total), signal);
    let manifest: EpochManifest | undefined;
    // The names are looked for when it is known which are needed.
    const accept = (given: EpochManifest): boolean => {
      manifest = given;
      return true;
    };
    const rows = rowsOf(readCsv(input.pieces), () => namesOf(manifest));
    return await contribute(await client(), { dataset, rows, verificationKey, ordinal, accept, signal });
  }).finally(() => progress.clear());
  print(command, made, () => [
    `contributed ${made.rows} rows to ${dataset}, epoch ${made.epoch}`,
    ...(made.clamped > 0
      ? [`${made.clamped} values lay beyond their bounds, and were counted as these`]
      : []),
  ]);
}

function trustOf(command: Command, { verificationKey, trustService }: Options): Uint8Array | 'from-service' {
  if ((verificationKey === undefined) === (trustService === undefined)) {
    command.error('error: give the dataset’s --verification-key, or --trust-service');
  }
  if (verificationKey === undefined) return 'from-service';
  const key = fromBase64(verificationKey);
  if (key?.length === 32) return key;
  return command.error('error: --verification-key must be 32 bytes in base64');
}

function namesOf(manifest: EpochManifest | undefined): string[] {
  return [...(manifest?.columns ?? []), ...(manifest?.groups ?? [])].map(({ name }) => name);
}

/** Columns that the dataset does not have are passed over. */
async function* rowsOf(
  records: AsyncIterable<readonly string[]>,
  needed: () => readonly string[],
): AsyncGenerator<Row> {
  let names: readonly string[] | undefined;
  let row = 0;
  for await (const fields of records) {
    if (names === undefined) {
      names = fields.map((name) => name.trim());
      const missing = needed().filter((name) => !names?.includes(name));
      if (missing.length > 0) throw new Failed(`the first line does not name ${missing.join(', ')}`);
      continue;
    }
    row += 1;
    if (fields.length !== names.length) {
      throw new Failed(`row ${row} has ${fields.length} fields, and the first line names ${names.length}`);
    }
    yield Object.fromEntries(names.map((name, at) => [name, fields[at] ?? '']));
  }
  if (names === undefined) throw new Failed('the file is empty: its first line names the columns');
}
