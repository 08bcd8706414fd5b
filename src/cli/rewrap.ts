import type { Command } from 'commander';
import { isPipe } from './names.ts';
import { collectPair, collectText, wholeNumber, withExamples } from './options.ts';
import type { DatabaseOptions } from './rewrap-database.ts';
import type { RewrapOptions } from './rewrap-files.ts';
import type { Surroundings } from './surroundings.ts';

export function addRewrapCommand(program: Command, surroundings: Surroundings): void {
  const rewrap = program
    .command('rewrap')
    .description(
      'move what was encrypted to the current version of its key: files, lines of JSON, or a column of a database',
    )
    .argument('[file...]', 'files that `stathera encrypt` made, of any size')
    .option('-c, --context <name=value>', 'the context they have now; may be repeated', collectPair)
    .option('--to-key <key>', 'move them to this key')
    .option(
      '--to-context <name=value>',
      'give them this context; may be repeated (default: as now)',
      collectPair,
    )
    .option('--clear-context', 'give them no context')
    .option('-q, --quiet', 'show no progress')
    .option(
      '--lines',
      'ciphertexts as lines of JSON from a file or stdin, {"ciphertext": …, "context": …, "id": …}; what becomes of ' +
        'each is a line on stdout',
    )
    .option(
      '-k, --key <key>',
      'with --lines and --database-url: name or id of the key whose ciphertexts they are',
    )
    .option(
      '--database-url <url>',
      'ciphertexts in a column of a table: sqlite:PATH or postgres://USER@HOST[:PORT]/DATABASE, without a password',
    )
    .option('--database-password-file <file>', 'file with the password; default PGPASSWORD or PGPASSFILE')
    .option(
      '--database-ca-file <file>',
      'PEM certificates that PostgreSQL’s is trusted by; default those of Node',
    )
    .option('--table <table>', 'the table, with its schema where it needs one')
    .option('--column <column>', 'bytea or blob, or text as base64')
    .option('--json-pointer <pointer>', 'where in the column the ciphertext is, if it holds JSON objects')
    .option(
      '--id-column <column>',
      'the primary key, or other columns that are unique; may be repeated',
      collectText,
    )
    .option(
      '--context-column <name=column>',
      'a pair of the context that is in a column of the row; may be repeated',
      collectPair,
    )
    .option('--dry-run', 'count by version, and change nothing')
    .option('--rate <rows>', 'rows a second at most', wholeNumber(1, 1_000_000))
    .option('--page <rows>', 'rows read at once', wholeNumber(1, 2_000), 500)
    .option(
      '--data-key-lease <seconds>',
      'how long programs keep data keys that they encrypt with (`reuse.seconds` of the client)',
      wholeNumber(0, 86_400),
      60,
    )
    .option(
      '--staleness <milliseconds>',
      'STATHERA_MAX_STALENESS_MS of the service (default: the most it can be)',
      wholeNumber(50, 10_000),
      10_000,
    )
    .option(
      '--state-file <file>',
      'where it goes on after it was ended (default: in ~/.local/state/stathera)',
    )
    .action(
      async (files: string[], options: RewrapOptions & LinesOptions & DatabaseOptions, command: Command) => {
        if (options.databaseUrl !== undefined) return await rewrapDatabase(files, command, surroundings);
        refuseOthers(command, 'of --database-url', ofDatabases);
        if (options.lines) return await rewrapLines(files, options, command, surroundings);
        refuseOthers(command, 'of --lines and --database-url', ['key']);
        if (files.length === 0) command.error("error: missing required argument 'file'");
        if (options.clearContext && options.toContext)
          command.error('error: --to-context and --clear-context exclude each other');
        await (await import('./rewrap-files.ts')).rewrapFiles(files, command, surroundings);
      },
    );
  withExamples(
    rewrap,
    'stathera keys rotate payments && stathera rewrap *.stathera',
    'stathera rewrap --context report=2026 --to-key archive report.pdf.stathera',
    'stathera rewrap --lines --key payments < old.ndjson > new.ndjson',
    'stathera rewrap --key payments --database-url postgres://shop@db.example/shop --table payments --column card \\\n' +
      '      --id-column id --context-column row=id --context table=payments',
  );
}

const ofDatabases: readonly (keyof DatabaseOptions)[] = [
  ...(['databasePasswordFile', 'databaseCaFile', 'table', 'column', 'jsonPointer', 'idColumn'] as const),
  ...(['contextColumn', 'dryRun', 'rate', 'page', 'dataKeyLease', 'staleness', 'stateFile'] as const),
];

/** An option that would be ignored is refused: who asks for a dry run must not get another. */
function refuseOthers(command: Command, whose: string, names: readonly string[]): void {
  const given = command.options.find(
    (option) =>
      names.includes(option.attributeName()) &&
      command.getOptionValueSource(option.attributeName()) === 'cli',
  );
  if (given) command.error(`error: ${given.long} is an option ${whose}`);
}

async function rewrapDatabase(
  files: readonly string[],
  command: Command,
  surroundings: Surroundings,
): Promise<void> {
  const given = command.opts<RewrapOptions & LinesOptions & DatabaseOptions>();
  for (const [name, value] of [
    ...([
      ['--key', given.key],
      ['--table', given.table],
      ['--column', given.column],
    ] as const),
    ['--id-column', given.idColumn] as const,
  ])
    if (value === undefined) command.error(`error: --database-url needs ${name}`);
  if (files.length > 0 || given.lines) command.error('error: --database-url takes neither files nor --lines');
  if (given.toKey ?? given.toContext ?? given.clearContext)
    command.error('error: with --database-url context and key are kept');
  await (await import('./rewrap-database.ts')).rewrapDatabase(command, surroundings);
}

interface LinesOptions {
  readonly lines?: true;
  readonly key?: string;
}

async function rewrapLines(
  [file, ...more]: string[],
  { key, context, toKey, toContext, clearContext }: RewrapOptions & LinesOptions,
  command: Command,
  surroundings: Surroundings,
): Promise<void> {
  if (key === undefined) return command.error('error: --lines needs --key: whose ciphertexts they are');
  if (more.length > 0) command.error('error: --lines reads one file, or stdin');
  if (context ?? toKey ?? toContext ?? clearContext)
    command.error('error: with --lines each line has its context, which is kept, as the key is');
  await (await import('./rewrap-lines.ts')).rewrapLines(isPipe(file) ? undefined : file, key, surroundings);
}
