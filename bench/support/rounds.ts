// Many short rounds rather than few long ones: what else happens on the machine comes and goes.
export const rounds = 5;

/** Measures in turns with the floor, so that what slows the machine down for a while slows both. */
export async function medianRound<Round extends { readonly rate: number; readonly floor: number }>(
  round: () => Promise<Round>,
): Promise<Round & { readonly ratio: number }> {
  const all: (Round & { readonly ratio: number })[] = [];
  for (let count = 0; count < rounds; count += 1) {
    const measured = await round();
    all.push({ ...measured, ratio: measured.rate / measured.floor });
  }
  const median = all.toSorted((a, b) => a.ratio - b.ratio)[Math.floor(rounds / 2)];
  if (median === undefined) throw new Error('no rounds');
  return median;
}
