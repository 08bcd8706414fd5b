import { type Dirent, lstatSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../../config.ts';
import { type Finding, failed, ok, unchecked, warning } from './finding.ts';

const namedFiles = 3;

/** What must be there, and who else may read or own it. */
export function checkFiles(config: Config): Finding[] {
  const findings: Finding[] = [];
  const { dataDir } = config;
  const { pinFile } = config.hsm;
  for (const [check, path] of [
    ['data directory', dataDir],
    ['PIN file', pinFile],
  ] as const) {
    if (statSync(path, { throwIfNoEntry: false })) findings.push(ok(check, path));
    else {
      const next = 'set STATHERA_DATA_DIR to the service’s directory, or run `stathera init` to make one';
      findings.push(failed(check, `${path} is not there`, next));
    }
  }
  if (statSync(dataDir, { throwIfNoEntry: false })) findings.push(checkPermissions(config));
  return findings;
}

/** The token's folder, database, log and keys are the owner's of the data directory, and nobody else's. */
function checkPermissions({ dataDir, database, hsm, tls }: Config): Finding {
  const check = 'permissions';
  const ofDatabase = database.kind === 'sqlite' ? database.file : database.passwordFile;
  const secrets = [ofDatabase, hsm.pinFile, tls?.keyFile];
  const apart = secrets.filter((path) => path !== undefined);
  let all: string[];
  try {
    all = [...new Set([dataDir, ...filesBelow(dataDir), ...apart.filter(isThere)])];
  } catch {
    return unchecked(check, `${dataDir} cannot be read by this user`, 'run it as the user of the service');
  }
  const { uid: owner } = statSync(dataDir);
  const files = all.flatMap((path) => {
    const found = lstatSync(path, { throwIfNoEntry: false });
    return found === undefined || found.isSymbolicLink() ? [] : [{ path, uid: found.uid, mode: found.mode }];
  });
  const loose = files.filter(({ mode }) => (mode & 0o077) !== 0).map(({ path }) => path);
  if (loose.length > 0) {
    const [first] = loose;
    return warning(
      check,
      `others may read or write ${someOf(loose)}`,
      loose.length === 1
        ? `chmod go= ${first}`
        : `chmod -R go= ${dataDir}, and each of them that is elsewhere`,
    );
  }
  const foreign = files.filter(({ uid }) => uid !== owner).map(({ path }) => path);
  if (foreign.length === 0) return ok(check, `${files.length} files and directories, their owner’s alone`);
  return warning(
    check,
    `another user than that of ${dataDir} owns ${someOf(foreign)}`,
    `chown -R ${owner} ${dataDir}, and run \`stathera\` as that user only`,
  );
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** @throws when a directory cannot be read */
function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true }).map((entry: Dirent) =>
    join(entry.parentPath, entry.name),
  );
}

function someOf(paths: readonly string[]): string {
  const more = paths.length - namedFiles;
  return `${paths.slice(0, namedFiles).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}
