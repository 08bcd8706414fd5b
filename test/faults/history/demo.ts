// Shows three nodes with three enrolled tokens over one PostgreSQL, half a minute under load: a node is killed,
// PostgreSQL restarts, a token vanishes. Prints what clients saw of it, and whether anything happened that never may.
// Run: npm run demo:cluster [-- --seconds 30] [-- --seed N]; it needs PostgreSQL's programs.
import { parseArgs } from 'node:util';
import { whyNoPostgres } from '../../support/postgres.ts';
import { runCluster } from './cluster.ts';
import { explained } from './told.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '30' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
  },
});
const seconds = Number(values.seconds);
if (!(seconds >= 5 && seconds <= 3_600)) throw new Error('--seconds must be from 5 to 3600');
const why = whyNoPostgres();
if (why !== undefined) throw new Error(why);

const print = (line: string) => void process.stdout.write(`${line}\n`);
const { history, violations, outages } = await runCluster({
  milliseconds: seconds * 1_000,
  seed: Number(values.seed),
  say: (text) => void process.stderr.write(`${text}\n`),
});
const count = (outcome: string) => history.seen.filter((one) => one.outcome === outcome).length;
print(`requests   ${history.seen.length}, seed ${values.seed}`);
print(`done       ${count('accepted')}`);
print(`refused    ${count('refused')} (revoked tokens and disabled keys among them)`);
print(`unanswered ${count('unknown')}`);
print('fault                                longest outage    errors');
for (const { fault, milliseconds, errors } of outages)
  print(`${fault.padEnd(36)} ${`${Math.round(milliseconds)} ms`.padStart(14)} ${String(errors).padStart(9)}`);
for (const line of explained(violations, history)) print(line);
print(
  violations.length === 0
    ? 'checked: every version opens what it sealed, nothing was accepted late, every answer has one record, nothing ran twice'
    : `CHECKED: ${violations.length} VIOLATIONS`,
);
process.exitCode = violations.length === 0 ? 0 : 1;
