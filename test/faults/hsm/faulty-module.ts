import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { projectRoot } from '../../support/data.ts';
import { softhsmModule } from '../../support/token.ts';

/** As `enum kind` of module/faulty.c. */
const kinds = { fail: 1, doAndFail: 2, loseSessions: 3, hang: 4, slow: 5, flip: 6 } as const;

const source = join(import.meta.dirname, 'module', 'faulty.c');
const headers = join(projectRoot, 'node_modules', 'pkcs11js', 'includes');

/** The functions that can fail, in the order of their places in the control file. */
const functions = [...readFileSync(source, 'utf8').matchAll(/^FORWARD\((C_\w+)/gm)].map(
  ([, name]) => name ?? '',
);
const faultBytes = 40;
const controlBytes = 4096;

export interface Fault {
  readonly kind: keyof typeof kinds;
  /** The CKR code, for `fail` and `doAndFail`. */
  readonly code?: number;
  /** Each so many-th call; default every one. */
  readonly every?: number;
  /** How often; default until cleared. */
  readonly times?: number;
}

/** SoftHSM with faults to order: shared with its tests through a file mapped into memory. */
export interface FaultyModule {
  /** Path for the setting `module`. */
  readonly module: string;
  /** Environment the module needs where it is loaded. */
  readonly environment: Readonly<Record<string, string>>;
  set(name: string, fault: Fault): void;
  /** The same fault in every function. */
  setAll(fault: Fault): void;
  clear(): void;
  /** Calls of a function so far, and how many of them had a fault. */
  calls(name: string): number;
  injected(name: string): number;
  remove(): void;
}

/**
 * Compiles the module. Its file name makes it SoftHSM for `moduleTraits` and the service's settings.
 * @returns undefined without a C compiler; CI has one
 */
export function buildFaultyModule(): FaultyModule | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'stathera-faulty-'));
  const module = join(folder, 'libsofthsm2.faulty.so');
  const args = [
    '-Wall',
    '-Wextra',
    '-Werror',
    '-O1',
    '-shared',
    '-fPIC',
    '-I',
    headers,
    '-o',
    module,
    source,
  ];
  const compiled = spawnSync('cc', [...args, '-ldl', '-lpthread'], { encoding: 'utf8' });
  if (compiled.error !== undefined && process.env['CI'] !== 'true') {
    rmSync(folder, { recursive: true });
    return undefined;
  }
  if (compiled.status !== 0) throw new Error(`faulty.c does not compile: ${compiled.stderr}`);
  const control = join(folder, 'control');
  const file = openSync(control, 'w+', 0o600);
  writeSync(file, Buffer.alloc(controlBytes));
  return {
    module,
    environment: { FAULTY_MODULE: softhsmModule, FAULTY_CONTROL: control },
    ...controls(file, folder),
  };
}

function controls(file: number, folder: string): Omit<FaultyModule, 'module' | 'environment'> {
  function place(name: string): number {
    const index = functions.indexOf(name);
    if (index < 0) throw new RangeError(`faulty.c does not forward ${name}`);
    return index * faultBytes;
  }
  function read(name: string, offset: number): number {
    const word = Buffer.alloc(8);
    readSync(file, word, 0, 8, place(name) + offset);
    return Number(word.readBigUInt64LE());
  }
  function write(name: string, kind: number, { code = 0, every = 1, times = -1 }: Omit<Fault, 'kind'>): void {
    const fault = Buffer.alloc(24);
    fault.writeUInt32LE(kind, 0);
    fault.writeUInt32LE(code, 4);
    fault.writeBigInt64LE(BigInt(every), 8);
    fault.writeBigInt64LE(BigInt(times), 16);
    // The kind comes last: it is what makes the rest count.
    writeSync(file, fault, 4, 20, place(name) + 4);
    writeSync(file, fault, 0, 4, place(name));
  }
  return {
    set: (name, fault) => write(name, kinds[fault.kind], fault),
    setAll(fault) {
      for (const name of functions) write(name, kinds[fault.kind], fault);
    },
    clear() {
      // The kind alone: a call that has just read it still needs the code.
      for (const name of functions) writeSync(file, Buffer.alloc(4), 0, 4, place(name));
    },
    calls: (name) => read(name, 24),
    injected: (name) => read(name, 32),
    remove() {
      closeSync(file);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
