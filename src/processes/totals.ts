import type { FamilySamples } from '../core/metrics-text.ts';

/**
 * The measurements of several processes as one page. Counters and histograms are sums that never go down: of a process
 * that ended, or does not answer, what it said last goes on counting. Gauges are those of now, each with the label
 * `process`.
 */
export interface Totals<Source extends object> {
  /** What a process measured, in place of what it said before. */
  update(source: Source, families: readonly FamilySamples[]): void;
  /** It has ended. */
  retire(source: Source): void;
  /** @param current whose gauges are shown, by the number of the process */
  families(current: ReadonlyMap<number, Source>): FamilySamples[];
}

interface Sum {
  readonly family: FamilySamples;
  readonly series: Map<string, number[]>;
}

export function createTotals<Source extends object>(): Totals<Source> {
  const latest = new Map<Source, readonly FamilySamples[]>();
  const ended = new Map<string, Sum>();
  return {
    update: (source, families) => void latest.set(source, families),
    retire(source) {
      addAll(ended, (latest.get(source) ?? []).filter(isSummed));
      latest.delete(source);
    },
    families(current) {
      const sums = new Map<string, Sum>();
      for (const [name, { family, series }] of ended) {
        sums.set(name, {
          family,
          series: new Map([...series].map(([labels, values]) => [labels, [...values]])),
        });
      }
      for (const families of latest.values()) addAll(sums, families.filter(isSummed));
      for (const [number, source] of current) {
        const gauges = (latest.get(source) ?? []).filter((family) => !isSummed(family));
        addAll(
          sums,
          gauges.map((family) => labelled(family, `process="${number}"`)),
        );
      }
      return [...sums.values()].map(({ family, series }) => ({
        ...family,
        series: [...series].map(([labels, values]) => ({ labels, values })),
      }));
    },
  };
}

function isSummed({ type }: FamilySamples): boolean {
  return type !== 'gauge';
}

function labelled(family: FamilySamples, label: string): FamilySamples {
  return {
    ...family,
    series: family.series.map(({ labels, values }) => ({
      labels: labels === '' ? label : `${label},${labels}`,
      values,
    })),
  };
}

function addAll(sums: Map<string, Sum>, families: readonly FamilySamples[]): void {
  for (const family of families) {
    const sum: Sum = sums.get(family.name) ?? { family: { ...family, series: [] }, series: new Map() };
    sums.set(family.name, sum);
    // Newer files may have other buckets: what cannot be added is left out.
    if (!sameShape(sum.family, family)) continue;
    for (const { labels, values } of family.series) {
      const before = sum.series.get(labels);
      sum.series.set(
        labels,
        values.map((value, index) => value + (before?.[index] ?? 0)),
      );
    }
  }
}

function sameShape(one: FamilySamples, other: FamilySamples): boolean {
  return one.type === other.type && String(one.buckets) === String(other.buckets);
}
