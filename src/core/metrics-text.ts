/** What a family of series measured, as data: it can be sent, added up and printed. */
export interface FamilySamples {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  /** Upper bounds of a histogram, without +Inf. */
  readonly buckets?: readonly number[] | undefined;
  readonly series: readonly SeriesSamples[];
}

export interface SeriesSamples {
  /** `a="b",c="d"` or empty. */
  readonly labels: string;
  /** One; of a histogram the count of each bucket (not cumulative), that of +Inf, and the sum. */
  readonly values: readonly number[];
}

/** The Prometheus text format 0.0.4. */
export function metricsText(families: readonly FamilySamples[]): string {
  return families.map(familyText).join('');
}

function familyText(family: FamilySamples): string {
  const { name, help, type } = family;
  const lines = [`# HELP ${name} ${escapeHelp(help)}`, `# TYPE ${name} ${type}`];
  for (const series of family.series) {
    if (type === 'histogram') addHistogram(lines, family, series);
    else lines.push(`${name}${braced(series.labels)} ${number(series.values[0] ?? 0)}`);
  }
  return `${lines.join('\n')}\n`;
}

function addHistogram(
  lines: string[],
  { name, buckets = [] }: FamilySamples,
  { labels, values }: SeriesSamples,
): void {
  const before = labels === '' ? '' : `${labels},`;
  let total = 0;
  for (const [index, bound] of [...buckets, undefined].entries()) {
    total += values[index] ?? 0;
    lines.push(`${name}_bucket{${before}le="${bound === undefined ? '+Inf' : number(bound)}"} ${total}`);
  }
  const sum = values[buckets.length + 1] ?? 0;
  lines.push(`${name}_sum${braced(labels)} ${number(sum)}`, `${name}_count${braced(labels)} ${total}`);
}

export function labelText<L extends string>(labels: readonly L[], valueOf: (label: L) => string): string {
  return labels.map((label) => `${label}="${escapeValue(valueOf(label))}"`).join(',');
}

function braced(labels: string): string {
  return labels === '' ? '' : `{${labels}}`;
}

function escapeValue(value: string): string {
  return value.slice(0, 128).replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

function escapeHelp(help: string): string {
  return help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}

function number(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (Number.isFinite(value)) return String(value);
  return value > 0 ? '+Inf' : '-Inf';
}
