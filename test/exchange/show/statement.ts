import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';

const rows = 40_000;

/** Writes a day's payments as a bank would send them: made up, the same at each run. @returns its SHA-256 and length */
export function writeStatement(file: string, day: string): { sha256: string; bytes: number } {
  const lines = Array.from({ length: rows }, (_, row) => {
    const account = (of: number) => `DE${String((row * 7919 * of) % 10 ** 18).padStart(20, '0')}`;
    const amount = ((row * 104_729) % 5_000_000) / 100;
    return `${day},${account(3)},${account(5)},${amount.toFixed(2)},EUR,invoice ${row + 1}`;
  });
  const text = Buffer.from(`date,debtor,creditor,amount,currency,reference\n${lines.join('\n')}\n`);
  writeFileSync(file, text, { mode: 0o600 });
  return { sha256: createHash('sha256').update(text).digest('hex'), bytes: text.length };
}

export async function digestOf(file: string, hash: 'sha256' | 'sha512'): Promise<Buffer> {
  return createHash(hash)
    .update(await readFile(file))
    .digest();
}
