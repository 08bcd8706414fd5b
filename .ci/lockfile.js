// Checks package-lock.json: it is complete for every system and is what package.json pins; every package is pinned by a
// hash, names no place of its own (no git, file or address: .npmrc leaves that to npm's registry), has a permissive
// licence, and runs an install script only when package.json says so.
import { readFileSync } from 'node:fs';

const lock = JSON.parse(readFileSync(new URL('../package-lock.json', import.meta.url), 'utf8'));
const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));

const permissive = new Set([
  '0BSD',
  'Apache-2.0',
  'BlueOak-1.0.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'ISC',
  'MIT',
]);
permissive.add('Unlicense').add('CC0-1.0').add('MIT-0').add('Python-2.0');

// Weak copyleft, only as an unmodified tool of the tests; never part of what is shipped.
const toolLicences = new Map([['MPL-2.0', /^lightningcss(-|$)/]]);

/** True when `expression` (SPDX) leaves a permissive choice. */
function isPermissive(expression) {
  return expression
    .replaceAll(/[()]/g, '')
    .split(' OR ')
    .some((choice) => choice.split(' AND ').every((licence) => permissive.has(licence.trim())));
}

function problemsOf(path, entry) {
  const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
  const problems = [];
  if (entry.link) return ['is a link'];
  if (!entry.integrity?.startsWith('sha512-')) problems.push('has no sha512 integrity');
  if (entry.resolved) problems.push(`names where it comes from: ${entry.resolved}`);
  const licence = typeof entry.license === 'string' ? entry.license : 'none stated';
  const allowedForTools = entry.dev === true && toolLicences.get(licence)?.test(name);
  if (!isPermissive(licence) && !allowedForTools) problems.push(`has the licence ${licence}`);
  if (entry.hasInstallScript && !(name in manifest.allowScripts)) {
    problems.push('runs an install script that "allowScripts" in package.json does not decide on');
  }
  for (const name of neededBy(entry)) {
    if (!isLocked(path, name))
      problems.push(`needs ${name}, which is not in the lockfile: npm ci would refuse it`);
  }
  return problems;
}

function neededBy({ dependencies, optionalDependencies, peerDependencies = {}, peerDependenciesMeta = {} }) {
  const peers = Object.keys(peerDependencies).filter((name) => !peerDependenciesMeta[name]?.optional);
  return [...Object.keys({ ...dependencies, ...optionalDependencies }), ...peers];
}

/** True when `name` is found from `path` as Node looks for it: in the nearest node_modules upwards. */
function isLocked(path, name) {
  const owners = `/${path}`.split('/node_modules/');
  return owners.some((_, depth) => {
    const folder = owners.slice(0, depth + 1).join('/node_modules/');
    return `${folder}/node_modules/${name}`.slice(1) in lock.packages;
  });
}

const failures = [];
const packages = Object.entries(lock.packages).filter(([path]) => path !== '');
for (const [path, entry] of packages) {
  for (const problem of problemsOf(path, entry)) failures.push(`${path}@${entry.version} ${problem}`);
}
for (const group of ['dependencies', 'devDependencies', 'optionalDependencies']) {
  for (const [name, range] of Object.entries(manifest[group] ?? {})) {
    if (!/^(npm:(@[^/]+\/)?[^@]+@)?\d+\.\d+\.\d+$/.test(range))
      failures.push(`${name} is not pinned: ${range}`);
    if (lock.packages[''][group]?.[name] !== range)
      failures.push(`${name} differs between package.json and its lock`);
    if (lock.packages[`node_modules/${name}`]?.version !== range.replace(/^npm:.*@/, ''))
      failures.push(`${name} is not locked as ${range}`);
  }
}
if (packages.length === 0) failures.push('package-lock.json lists no package');

for (const failure of failures) console.error(failure);
if (failures.length === 0) console.log(`${packages.length} packages are pinned and permissively licensed`);
process.exitCode = failures.length === 0 ? 0 : 1;
