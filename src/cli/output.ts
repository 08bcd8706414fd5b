import type { Command } from 'commander';

/** Prints a value for programs with `--json`, else lines for people. */
export function print(command: Command, value: unknown, lines: () => readonly string[]): void {
  if (command.optsWithGlobals()['json'] === true) console.log(JSON.stringify(value));
  else for (const line of lines()) console.log(line);
}

/** Columns as wide as their widest cell. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, at) => (widths[at] = Math.max(widths[at] ?? 0, cell.length)));
  return rows.map((row) =>
    row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
