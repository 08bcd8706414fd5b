import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { projectRoot } from '../support/data.ts';

const run = promisify(execFile);

export interface Manifest {
  readonly version: string;
  readonly exports: {
    readonly [entry in './client' | './client/aggregate']: Record<
      'node' | 'default',
      Record<'types' | 'default', string>
    >;
  };
}

export const manifest = JSON.parse(readFileSync(join(projectRoot, 'package.json'), 'utf8')) as Manifest;

/** An empty project that has installed what `npm pack` gives. */
export interface Project {
  readonly path: string;
  /** Where the package is. */
  readonly installed: string;
  readonly env: NodeJS.ProcessEnv;
  write(file: string, text: string): void;
  run(program: string, args: readonly string[]): Promise<{ stdout: string; stderr: string }>;
  /** The compiler's complaints; none when it passes. */
  typeCheck(options: object, files: readonly string[]): Promise<string>;
  remove(): void;
}

/** Only the build of pkcs11js is copied, not repeated. */
export async function makeProject(): Promise<Project> {
  const path = mkdtempSync(join(tmpdir(), 'stathera-package-'));
  const env = {
    // What npm needs to reach its registry here (certificates, proxies, configuration) is not known to a test.
    ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('STATHERA_'))),
    PATH: `${dirname(process.execPath)}:${process.env['PATH']}`,
    STATHERA_DATA_DIR: join(path, 'data'),
    STATHERA_LISTEN: '127.0.0.1:0',
  };
  await run('npm', ['pack', '--silent', '--pack-destination', path], { cwd: projectRoot, env });
  const write = (file: string, text: string): void => writeFileSync(join(path, file), text);
  write('package.json', '{ "private": true, "type": "module" }\n');
  const options = ['--ignore-scripts', '--omit=optional', '--prefer-offline', '--no-audit', '--no-fund'];
  await run('npm', ['install', ...options, `./stathera-kms-${manifest.version}.tgz`], { cwd: path, env });
  const built = 'node_modules/pkcs11js/build';
  cpSync(join(projectRoot, built), join(path, built), { recursive: true });
  // What a project on Node has for development.
  const compiler = join(projectRoot, 'node_modules/@typescript/native/bin/tsc');
  for (const types of ['@types', 'undici-types']) {
    symlinkSync(join(projectRoot, 'node_modules', types), join(path, 'node_modules', types));
  }
  return {
    path,
    installed: join(path, 'node_modules/stathera-kms'),
    env,
    write,
    run: (program, args) => run(program, args, { cwd: path, env }),
    async typeCheck(compilerOptions, files) {
      write(
        'tsconfig.json',
        JSON.stringify({ compilerOptions: { noEmit: true, ...compilerOptions }, files }),
      );
      try {
        await run(process.execPath, [compiler, '-p', path], { cwd: path, env });
        return '';
      } catch (error) {
        return (error as { stdout: string }).stdout;
      }
    },
    remove: () => rmSync(path, { recursive: true, force: true }),
  };
}
