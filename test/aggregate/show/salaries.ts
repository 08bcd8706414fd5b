/** Departments, the median salary in EUR, how widely salaries spread, and how often they occur. */
export const departments = [
  { name: 'engineering', median: 68_000, spread: 0.32, share: 22 },
  { name: 'sales', median: 52_000, spread: 0.45, share: 16 },
  { name: 'operations', median: 44_000, spread: 0.28, share: 15 },
  { name: 'support', median: 38_000, spread: 0.22, share: 12 },
  { name: 'finance', median: 59_000, spread: 0.35, share: 8 },
  { name: 'marketing', median: 50_000, spread: 0.34, share: 7 },
  { name: 'logistics', median: 36_000, spread: 0.24, share: 6 },
  { name: 'research', median: 72_000, spread: 0.36, share: 5 },
  { name: 'people', median: 49_000, spread: 0.3, share: 4 },
  { name: 'legal', median: 81_000, spread: 0.42, share: 2 },
  { name: 'security', median: 66_000, spread: 0.3, share: 2 },
  { name: 'management', median: 124_000, spread: 0.55, share: 1 },
] as const;

export interface Salary {
  /** In cents. */
  readonly salary: number;
  readonly department: string;
}

/** The same salaries in every run: log-normal in each department, each company with a level of its own. */
export function salariesOf(company: number, rows: number): Salary[] {
  const uniform = createUniform(company + 1);
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  const level = Math.exp(0.12 * normal());
  const total = departments.reduce((sum, { share }) => sum + share, 0);
  return Array.from({ length: rows }, () => {
    let at = uniform() * total;
    const department = departments.find(({ share }) => (at -= share) < 0) ?? departments[0];
    const euros = department.median * level * Math.exp(department.spread * normal());
    return { salary: Math.round(euros * 100), department: department.name };
  });
}

/** mulberry32: good enough to look like salaries. */
function createUniform(seed: number): () => number {
  let state = seed * 0x9e3779b1;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
