// Builds dist/, or the directory it is given: JavaScript and declarations from src/, and the files beside them that
// are read at run time.
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, globSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = resolve(process.argv[2] ?? join(root, 'dist'));

rmSync(dist, { recursive: true, force: true });
const compiler = join(root, 'node_modules', '@typescript', 'native', 'bin', 'tsc');
const options = ['-p', join(root, 'tsconfig.build.json'), '--outDir', dist];
const compiled = spawnSync(process.execPath, [compiler, ...options], { stdio: 'inherit' });
if (compiled.status !== 0) process.exit(1);

for (const file of globSync('**/*.*', { cwd: join(root, 'src') })) {
  if (/\.(ts|md)$/.test(file)) continue;
  mkdirSync(dirname(join(dist, file)), { recursive: true });
  copyFileSync(join(root, 'src', file), join(dist, file));
}
chmodSync(join(dist, 'main.js'), 0o755);
