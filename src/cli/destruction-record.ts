import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { withAuditMac } from '../audit-mac.ts';
import { readConfig } from '../config.ts';
import { isSigned } from '../lifecycle/lifecycle.ts';
import { openExisting } from './existing.ts';
import { Failed } from './failed.ts';
import { print } from './output.ts';
import type { Surroundings } from './surroundings.ts';

/** Exits 1 unless the audit key of this service signed the record as it stands. */
export async function verifyDestruction(
  file: string,
  command: Command,
  { environment, adapters: load }: Surroundings,
): Promise<void> {
  const record = await read(file);
  const config = readConfig(environment);
  const adapters = await load();
  const store = await openExisting(adapters, config, true);
  try {
    const signed = await withAuditMac({ config, adapters, store }, (mac) => isSigned(mac, record));
    if (!signed) throw new Failed('this is no record that this service signed, or it was changed');
  } finally {
    await store.close();
  }
  print(command, { signed: true, record }, () => [
    `version ${String(record['version'])} of the key ${String(record['keyName'])} (${String(record['keyId'])}) was ` +
      `destroyed at ${String(record['destroyedAt'])}`,
    ...claimsOf(record),
  ]);
}

const mostBytes = 65_536;

async function read(file: string): Promise<Record<string, unknown>> {
  const text = await readFile(file, 'utf8');
  try {
    const record: unknown = text.length > mostBytes ? undefined : JSON.parse(text);
    if (typeof record === 'object' && record !== null) return record as Record<string, unknown>;
  } catch {
    // As below.
  }
  throw new Failed(`${file}: not the record of a destruction`);
}

function claimsOf({ claims }: Record<string, unknown>): string[] {
  const { destroyed, notClaimed } = claims as Record<string, unknown>;
  return [`claimed: ${String(destroyed)}`, `not claimed: ${String(notClaimed)}`];
}
