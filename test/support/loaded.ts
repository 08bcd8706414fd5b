import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, join, normalize } from 'node:path';
import { projectRoot } from './data.ts';

/** A source as a browser gets it. */
export function stripped(path: string): string {
  return stripTypeScriptTypes(readFileSync(join(projectRoot, path), 'utf8'));
}

/** Everything that `path` loads when it starts, itself first; of files their code. What it imports later is not in it. */
export function loadedBy(path: string, known = new Map<string, string>()): Map<string, string> {
  if (known.has(path)) return known;
  const code = stripped(path);
  known.set(path, code);
  for (const [, to = ''] of code.matchAll(/^\s*(?:import|export)\b[^'"]*?from\s*['"]([^'"]+)['"]/gm)) {
    if (to.startsWith('.')) loadedBy(normalize(join(dirname(path), to)), known);
    else known.set(to, '');
  }
  return known;
}
