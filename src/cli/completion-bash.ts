import type { Choice, Place } from './places.ts';

/** A script for bash 3.2 and later. */
export function completeBash(places: readonly Place[]): string {
  const paths = places.slice(1).map(({ path }) => quoted(` ${path}`));
  const lines = [
    '# bash completion for stathera',
    '_stathera() {',
    '  local at="" words="" files="" i',
    '  local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"',
    '  for ((i = 1; i < COMP_CWORD; i++)); do',
    '    case "$at ${COMP_WORDS[i]}" in',
    `      ${paths.join('|')}) at="$at \${COMP_WORDS[i]}" ;;`,
    '    esac',
    '  done',
    '  case "$at:$before" in',
    ...places.flatMap(({ path, options }) => options.flatMap((option) => ofOption(path, option))),
    '    *)',
    '      case "$at" in',
    ...places.map(
      ({ path, commands, options, values, takesFiles }) =>
        `        ${quoted(path === '' ? '' : ` ${path}`)}) words=${quoted(
          [...commands.map(({ name }) => name), ...values].join(' '),
        )}${takesFiles ? ' files=1' : ''}; [[ $word == -* ]] && words=${quoted(
          options.flatMap(({ flags }) => flags).join(' '),
        )} ;;`,
    ),
    '      esac',
    '      ;;',
    '  esac',
    '  COMPREPLY=($(compgen -W "$words" -- "$word"))',
    '  if [[ -n $files && $word != -* ]]; then compopt -o default 2>/dev/null; fi',
    '}',
    'complete -F _stathera stathera',
    '',
  ];
  return lines.join('\n');
}

/** What comes after an option that takes a value. */
function ofOption(path: string, { flags, takesValue, values, takesFiles }: Choice): string[] {
  if (!takesValue) return [];
  const at = path === '' ? '' : ` ${path}`;
  const patterns = flags.map((flag) => quoted(`${at}:${flag}`)).join('|');
  return [`    ${patterns}) words=${quoted(values.join(' '))}${takesFiles ? ' files=1' : ''} ;;`];
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
