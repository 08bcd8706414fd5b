// Shows that a rotation ends: a key that rotates every 2 s, 10,000 rows each in SQLite and PostgreSQL, rewrapped to the
// last one, the old versions retired and destroyed, every row still open, and the audit log.
// Run: npm run demo:rotation [-- --rows N]. It leaves nothing behind, and ends with 1 unless every check holds.
import { parseArgs } from 'node:util';
import { removeServer, removeServerNow } from '../cli/database/support.ts';
import { runDemo } from '../support/demo.ts';
import { show } from './show.ts';

const { values } = parseArgs({ options: { rows: { type: 'string', default: '10000' } } });
const rows = Number(values.rows);
if (!Number.isInteger(rows) || rows < 5) throw new Error('--rows must be a whole number from 5');

process.once('exit', removeServerNow);
await runDemo(async (directory, told) => {
  try {
    await show({ directory, rows, told });
  } finally {
    await removeServer();
  }
});
