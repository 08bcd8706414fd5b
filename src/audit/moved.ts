/** Outbox rows whose records are in the log, until they are deleted. */
export interface MovedRows {
  add(ids: readonly string[]): void;
  ids(): string[];
  deleted(ids: readonly string[]): void;
  readonly size: number;
  /**
   * Everything that is moved now or will be until `end`, deleted since or not: rows read after this call
   * and unknown to it are not in the log.
   */
  track(): { has(id: string): boolean; end(): void };
}

export function createMovedRows(): MovedRows {
  const rows = new Set<string>();
  const tracks = new Set<Set<string>>();
  return {
    add(ids) {
      for (const id of ids) {
        rows.add(id);
        for (const track of tracks) track.add(id);
      }
    },
    ids: () => [...rows],
    deleted(ids) {
      for (const id of ids) rows.delete(id);
    },
    get size() {
      return rows.size;
    },
    track() {
      const track = new Set(rows);
      tracks.add(track);
      return {
        has: (id) => track.has(id),
        end: () => void tracks.delete(track),
      };
    },
  };
}
