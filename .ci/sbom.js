// Prints what is shipped of npm's packages as CycloneDX: npm run --silent sbom > sbom.cdx.json
// npm reads it from the lockfile, without what is for development only: `npm sbom --omit=dev` would leave out what a
// package for development needs too.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const read = (name) => JSON.parse(readFileSync(join(root, name), 'utf8'));

const manifest = read('package.json');
const lock = read('package-lock.json');
delete manifest.devDependencies;
delete lock.packages[''].devDependencies;
for (const [path, { dev }] of Object.entries(lock.packages)) if (dev) delete lock.packages[path];

// npm names what it describes after the folder.
const work = mkdtempSync(join(tmpdir(), 'sbom-'));
const folder = join(work, manifest.name);
try {
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest));
  writeFileSync(join(folder, 'package-lock.json'), JSON.stringify(lock));
  const command = ['sbom', '--sbom-format=cyclonedx', '--package-lock-only'];
  process.exitCode = spawnSync('npm', command, { cwd: folder, stdio: 'inherit' }).status ?? 1;
} finally {
  rmSync(work, { recursive: true, force: true });
}
