import { onTestFinished } from 'vitest';
import type { Adapters } from '../../../src/adapters.ts';
import type { Finding } from '../../../src/cli/doctor/finding.ts';
import { type Config, readConfig } from '../../../src/config.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { openSqliteStore } from '../../../src/store/sqlite.ts';
import { emptyDirectory, freshDataDir, removeDirectory } from '../../support/data.ts';
import { run } from '../support.ts';

export interface Findings {
  /** The state of each check. */
  readonly states: Readonly<Record<string, Finding['state']>>;
  /** What a check said, and what to do next. */
  text(check: string): string;
}

/** An initialized data directory that ends with the test. */
export async function directoryOfTest(make = freshDataDir): Promise<string> {
  const directory = await make();
  onTestFinished(() => removeDirectory(directory));
  return directory;
}

export const emptyDirectoryOfTest = (): Promise<string> => directoryOfTest(emptyDirectory);

type Settings = Readonly<Record<string, string>>;

/** By default for a service on any port: nothing is asked there. */
function settingsOf(dataDir: string, env: Settings): Settings {
  return { STATHERA_DATA_DIR: dataDir, STATHERA_LISTEN: '127.0.0.1:0', ...env };
}

/** What a check of the command is given. */
export const configOf = (dataDir: string, env: Settings = {}): Config => readConfig(settingsOf(dataDir, env));

/** What the checks that need no token are given beside it. */
export const storeAdapters: Pick<Adapters, 'clock' | 'openStore'> = {
  clock: systemClock,
  async openStore(database, options) {
    if (database.kind !== 'sqlite') throw new TypeError('tests of the checks are over SQLite');
    return openSqliteStore({ file: database.file, ...options });
  },
};

export function findingsOf(findings: readonly Finding[]): Findings {
  return {
    states: Object.fromEntries(findings.map(({ check, state }) => [check, state])),
    text(check) {
      const finding = findings.find((each) => each.check === check);
      if (finding === undefined) throw new Error(`no finding of ${check}`);
      return finding.state === 'ok' ? finding.text : `${finding.text} → ${finding.next}`;
    },
  };
}

/** Runs the command on a directory. */
export async function examine(dataDir: string, env: Settings = {}) {
  const ended = await run(settingsOf(dataDir, env), '--json', 'doctor');
  if (ended.stderr !== '') throw new Error(ended.stderr);
  const { findings } = ended.json() as { findings: Finding[] };
  return { code: ended.code, findings, ...findingsOf(findings) };
}
