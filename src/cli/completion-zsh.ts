import type { Choice, Place } from './places.ts';

/** A script for zsh: a file `_stathera` in its function path, or sourced. */
export function completeZsh(places: readonly Place[]): string {
  const paths = places.slice(1).map(({ path }) => quoted(` ${path}`));
  const lines = [
    '#compdef stathera',
    '_stathera() {',
    '  local at="" files="" i',
    '  local -a commands options values',
    '  for ((i = 2; i < CURRENT; i++)); do',
    '    case "$at ${words[i]}" in',
    `      (${paths.join('|')}) at="$at \${words[i]}" ;;`,
    '    esac',
    '  done',
    '  case "$at:${words[CURRENT-1]}" in',
    ...places.flatMap(({ path, options }) => options.flatMap((option) => ofOption(path, option))),
    '  esac',
    '  case "$at" in',
    ...places.flatMap(ofPlace),
    '  esac',
    "  if [[ $PREFIX == -* ]]; then _describe -o 'option' options; return; fi",
    "  (( ${#commands} )) && _describe 'command' commands",
    '  (( ${#values} )) && compadd -- $values',
    '  [[ -n $files ]] && _files',
    '}',
    'if [[ ${funcstack[1]} == _stathera ]]; then _stathera "$@"; else compdef _stathera stathera; fi',
    '',
  ];
  return lines.join('\n');
}

function ofPlace({ path, commands, options, values, takesFiles }: Place): string[] {
  const described = (name: string, description: string) =>
    quoted(`${name.replaceAll(':', String.raw`\:`)}:${description}`);
  return [
    `    (${quoted(path === '' ? '' : ` ${path}`)})`,
    `      commands=(${commands.map((each) => described(each.name, each.description)).join(' ')})`,
    `      options=(${options
      .flatMap(({ flags, description }) => flags.map((flag) => described(flag, description)))
      .join(' ')})`,
    `      values=(${values.map(quoted).join(' ')})${takesFiles ? ' files=1' : ''} ;;`,
  ];
}

/** What comes after an option that takes a value. */
function ofOption(path: string, { flags, takesValue, values, takesFiles }: Choice): string[] {
  if (!takesValue) return [];
  const at = path === '' ? '' : ` ${path}`;
  const patterns = flags.map((flag) => quoted(`${at}:${flag}`)).join('|');
  const offered = takesFiles
    ? '_files; '
    : values.length > 0
      ? `compadd -- ${values.map(quoted).join(' ')}; `
      : '';
  return [`    (${patterns}) ${offered}return ;;`];
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
