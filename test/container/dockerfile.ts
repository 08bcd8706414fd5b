import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { projectRoot } from '../support/data.ts';

export interface Instruction {
  readonly name: string;
  /** What follows the name, on one line, with the values of earlier `ARG`s. */
  readonly text: string;
}

/** The instructions of a Dockerfile, in order. */
export function instructionsOf(dockerfile: string): Instruction[] {
  const args = new Map<string, string>();
  const lines = dockerfile
    .replaceAll(/^\s*#.*\n/gm, '')
    .replaceAll(/\s*\\\n\s*/g, ' ')
    .split('\n')
    .filter((line) => line !== '');
  return lines.map((line) => {
    const [, name = '', rest = ''] = /^([A-Z]+) (.*)$/.exec(line) ?? [];
    if (name === '') throw new Error(`no instruction: ${line}`);
    const text = rest.replaceAll(/\$\{(\w+)\}/g, (_, arg: string) => args.get(arg) ?? '');
    const [, arg, value] = /^(\w+)=(.*)$/.exec(text) ?? [];
    if (name === 'ARG' && arg !== undefined && value !== undefined) args.set(arg, value);
    return { name, text };
  });
}

/** The instructions of each stage. */
export function stagesOf(instructions: readonly Instruction[]): Instruction[][] {
  const stages: Instruction[][] = [];
  for (const instruction of instructions) {
    if (instruction.name === 'FROM') stages.push([]);
    stages.at(-1)?.push(instruction);
  }
  return stages;
}

/** What the last stage says under `name`, the last time it does. */
export function lastOf(stage: readonly Instruction[], name: string): string {
  const text = stage.findLast((instruction) => instruction.name === name)?.text;
  if (text === undefined) throw new Error(`no ${name}`);
  return text;
}

/** How the image starts, and how its health is asked. */
export function commandsOfImage(): { entrypoint: string[]; command: string[]; health: string[] } {
  const stage = stagesOf(instructionsOf(readFileSync(join(projectRoot, 'Dockerfile'), 'utf8'))).at(-1) ?? [];
  const list = (text: string) => JSON.parse(text) as string[];
  return {
    entrypoint: list(lastOf(stage, 'ENTRYPOINT')),
    command: list(lastOf(stage, 'CMD')),
    health: list(lastOf(stage, 'HEALTHCHECK').replace(/^.* CMD /, '')),
  };
}
