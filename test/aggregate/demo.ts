// Shows answers about a million salaries that nobody sees: total, mean, deviation, histogram and means by department
// with their error bars beside the true values, the budget, a cohort that is too small, two answers that differ by one
// salary, and a second data set. Run: npm run demo:aggregate [-- --companies N --rows N]. It leaves nothing behind, and
// ends with 1 unless every check holds.
import { parseArgs } from 'node:util';
import { runDemo } from '../support/demo.ts';
import { show } from './show/show.ts';

const { values } = parseArgs({
  options: { companies: { type: 'string', default: '500' }, rows: { type: 'string', default: '2000' } },
});
const scale = { companies: Number(values.companies), rows: Number(values.rows) };
if (!(Number.isInteger(scale.companies) && scale.companies >= 20))
  throw new Error('--companies must be a whole number from 20');
if (!(Number.isInteger(scale.rows) && scale.rows >= 100))
  throw new Error('--rows must be a whole number from 100');

await runDemo((directory, told) => show(directory, scale, told));
