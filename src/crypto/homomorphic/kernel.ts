import { kernelBytes } from './kernel-bytes.ts';
import { type ParameterSet, residueBytes } from './parameters.ts';

/** Adds ciphertexts as they lie in memory. One at a time uses it: it has one accumulator. */
export interface ResidueAdder {
  /** Room for ciphertexts' residues, one behind the other. */
  readonly staging: Uint8Array<ArrayBuffer>;
  /** Adds the first so many of what is staged. */
  addStaged(ciphertexts: number): void;
  /** What is wrong with the staged ciphertext at `index`; undefined when it may be added. */
  faultOf(index: number): 'not-reduced' | 'transparent' | undefined;
  /** The residues of the sum so far, in memory of their own. */
  total(): Uint8Array<ArrayBuffer>;
  /** Begins a new sum, and forgets what was staged. */
  reset(): void;
}

interface Kernel {
  readonly memory: { readonly buffer: ArrayBuffer; grow(pages: number): number };
  add(accumulator: number, source: number, length: number, ciphertexts: number): void;
  reduce(at: number, length: number, modulus: bigint): void;
  below(at: number, length: number, modulus: bigint): number;
  zero(at: number, length: number): number;
}

// Its types come with those of browsers, which nothing else here has.
interface WebAssemblyApi {
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object) => { readonly exports: unknown };
}

const pageBytes = 65_536;
let compiled: object | undefined;

/**
 * An adder of the kernel of ./kernel.wat.
 * @param staged ciphertexts that can be staged at once: memory is theirs and one accumulator's
 */
export function createResidueAdder(set: ParameterSet, staged = 1): ResidueAdder {
  const { degree, moduli } = set;
  const bytes = residueBytes(set);
  const partBytes = degree * 8;
  const { memory, ...kernel } = instantiate();
  const needed = Math.ceil((bytes * (1 + staged)) / pageBytes);
  memory.grow(Math.max(0, needed - memory.buffer.byteLength / pageBytes));
  const accumulator = new Uint8Array(memory.buffer, 0, bytes);
  const staging = new Uint8Array(memory.buffer, bytes, bytes * staged);
  // A reduced accumulator is below one ciphertext; after so many more the next could pass 2^64.
  const largest = moduli.reduce((most, modulus) => (modulus > most ? modulus : most)) - 1n;
  const unreducedLimit = Number((2n ** 64n - 1n) / largest) - 1;
  let unreduced = 0;

  function reduce(): void {
    eachPart(bytes, partBytes, (at, part) =>
      kernel.reduce(at, partBytes, moduli[part % moduli.length] ?? 1n),
    );
    unreduced = 0;
  }

  return {
    staging,
    addStaged(ciphertexts) {
      if (!(ciphertexts >= 0 && ciphertexts <= staged)) throw new RangeError('more than is staged');
      for (let done = 0; done < ciphertexts; ) {
        if (unreduced === unreducedLimit) reduce();
        const now = Math.min(ciphertexts - done, unreducedLimit - unreduced);
        kernel.add(0, bytes * (1 + done), bytes, now);
        done += now;
        unreduced += now;
      }
    },
    faultOf(index) {
      if (!(index >= 0 && index < staged)) throw new RangeError('more than is staged');
      const at = bytes * (1 + index);
      let reduced = true;
      eachPart(bytes, partBytes, (offset, part) => {
        const modulus = moduli[part % moduli.length] ?? 1n;
        reduced = kernel.below(at + offset, partBytes, modulus) === 1 && reduced;
      });
      if (!reduced) return 'not-reduced';
      return kernel.zero(at + bytes / 2, bytes / 2) === 1 ? 'transparent' : undefined;
    },
    total() {
      reduce();
      return accumulator.slice();
    },
    reset() {
      accumulator.fill(0);
      staging.fill(0);
      unreduced = 0;
    },
  };
}

function eachPart(bytes: number, partBytes: number, visit: (offset: number, part: number) => void): void {
  for (let part = 0; part * partBytes < bytes; part += 1) visit(part * partBytes, part);
}

function instantiate(): Kernel {
  const { Module, Instance } = (globalThis as unknown as { WebAssembly: WebAssemblyApi }).WebAssembly;
  compiled ??= new Module(Uint8Array.from(atob(kernelBytes), (character) => character.charCodeAt(0)));
  return new Instance(compiled).exports as Kernel;
}
