import type { Choice, Place } from './places.ts';

/** A script for fish 3. */
export function completeFish(places: readonly Place[]): string {
  const paths = places.slice(1).map(({ path }) => quoted(` ${path}`));
  const lines = [
    '# fish completion for stathera',
    'function __stathera_at',
    '    set -l at ""',
    '    for word in (commandline -opc)[2..]',
    '        if contains -- "$at $word" ' + paths.join(' '),
    '            set at "$at $word"',
    '        end',
    '    end',
    '    test "$at" = "$argv[1]"',
    'end',
    'complete -c stathera -f',
    ...places.flatMap(ofPlace),
    '',
  ];
  return lines.join('\n');
}

function ofPlace({ path, commands, options, values, takesFiles }: Place): string[] {
  const at = `complete -c stathera -n ${quoted(`__stathera_at "${path === '' ? '' : ` ${path}`}"`)}`;
  return [
    ...commands.map(({ name, description }) => `${at} -a ${quoted(name)} -d ${quoted(description)}`),
    ...(values.length > 0 ? [`${at} -a ${quoted(values.join(' '))}`] : []),
    ...(takesFiles ? [`${at} -F`] : []),
    ...options.map((option) => `${at} ${ofOption(option)}`),
  ];
}

function ofOption({ flags, description, takesValue, values, takesFiles }: Choice): string {
  const names = flags.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
  const value = takesFiles ? ['-r -F'] : takesValue ? ['-x'] : [];
  const choices = values.length > 0 ? [`-a ${quoted(values.join(' '))}`] : [];
  return [...names, ...value, ...choices, `-d ${quoted(description)}`].join(' ');
}

function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", String.raw`\'`)}'`;
}
