import { Argument, type Command } from 'commander';
import { withExamples } from './options.ts';
import type { Place } from './places.ts';

const scripts: Readonly<Record<string, () => Promise<(places: readonly Place[]) => string>>> = {
  bash: async () => (await import('./completion-bash.ts')).completeBash,
  zsh: async () => (await import('./completion-zsh.ts')).completeZsh,
  fish: async () => (await import('./completion-fish.ts')).completeFish,
};

export function addCompletionCommand(program: Command): void {
  const completion = program
    .command('completion')
    .description('print a script that lets a shell complete commands, options and files')
    .addArgument(new Argument('<shell>', 'which').choices(Object.keys(scripts)))
    .action(async (shell: string) => {
      const script = await scripts[shell]?.();
      process.stdout.write(script?.(placesOf(program)) ?? '');
    });
  withExamples(
    completion,
    'source <(stathera completion bash)',
    "stathera completion zsh > '/usr/local/share/zsh/site-functions/_stathera'",
    'stathera completion fish > ~/.config/fish/completions/stathera.fish',
  );
}

/** Every place in the tree of commands, the program first. */
function placesOf(program: Command): Place[] {
  const everywhere = program.options.filter(({ long }) => long === '--json');
  const walk = (command: Command, path: string): Place[] => {
    const { registeredArguments: args } = command;
    const helper = command.createHelp();
    const options = [...new Set([...helper.visibleOptions(command), ...everywhere])];
    const subcommands = helper.visibleCommands(command);
    return [
      {
        path,
        commands: subcommands.map((each) => ({
          name: each.name(),
          description: each.summary() || brief(each.description()),
        })),
        options: options.map(({ flags, short, long, description, required, argChoices }) => ({
          flags: [short, long].filter((flag) => flag !== undefined),
          description: brief(description),
          takesValue: required,
          values: argChoices ?? [],
          takesFiles: flags.includes('<file>'),
        })),
        values: args.flatMap(({ argChoices = [] }) => argChoices),
        takesFiles: args.some((argument) => argument.name() === 'file'),
      },
      // `help` is made by the library, and leads nowhere.
      ...command.commands.flatMap((each) => walk(each, path === '' ? each.name() : `${path} ${each.name()}`)),
    ];
  };
  return walk(program, '');
}

/** The first words of a description. */
function brief(description: string): string {
  return description.split(/[;:(]|\. /)[0]?.trim() ?? '';
}
