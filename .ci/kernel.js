// Assembles src/crypto/homomorphic/kernel.wat and writes it as the module that is loaded (`npm run build:kernel`). An
// assembler optimizes nothing: the same source and the same wabt give the same bytes, which a test holds.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import loadWabt from 'wabt';

const folder = new URL('../src/crypto/homomorphic/', import.meta.url);

/** The text of `kernel-bytes.ts`. */
export async function kernelModule() {
  const wabt = await loadWabt();
  const source = readFileSync(new URL('kernel.wat', folder), 'utf8');
  const assembled = wabt.parseWat('kernel.wat', source, { simd: true });
  try {
    assembled.validate();
    const { buffer } = assembled.toBinary({ log: false, write_debug_names: false });
    const lines = Buffer.from(buffer)
      .toString('base64')
      .match(/.{1,100}/g);
    return [
      '/** ./kernel.wat assembled, in base64: `npm run build:kernel` writes this file. */',
      'export const kernelBytes =',
      ...lines.map((line, at) => `  '${line}'${at === lines.length - 1 ? ';' : ' +'}`),
      '',
    ].join('\n');
  } finally {
    assembled.destroy();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(new URL('kernel-bytes.ts', folder), await kernelModule());
}
