// What should happen to the versions of one key, written down from the README and from nothing else.

export type State = 'enabled' | 'decrypt-only' | 'disabled' | 'destroy-scheduled' | 'destroyed';
/** `done`, or the code of a refusal. */
export type Outcome = string;

interface ModelVersion {
  state: State;
  before: State;
  used: boolean;
  /** Nothing was made by it any more since then. */
  quietSince: number;
  coverage: { remaining: number; at: number } | undefined;
  dueAt: number;
  forced: boolean;
}

const open: readonly State[] = ['enabled', 'decrypt-only', 'disabled'];
const dayMilliseconds = 86_400_000;

export interface Model {
  readonly states: () => State[];
  rotate(now: number): Outcome;
  encrypt(): Outcome;
  decrypt(ordinal: number): Outcome;
  set(ordinal: number, state: State): Outcome;
  enable(enabled: boolean, now: number): Outcome;
  cover(ordinal: number, remaining: number, now: number): Outcome;
  schedule(ordinals: number[] | undefined, forced: boolean, dueAt: number): Outcome;
  restore(ordinals: number[] | undefined): Outcome;
  pass(now: number): Outcome;
}

export function createModel(now: number): Model {
  const versions: ModelVersion[] = [fresh(now)];
  let enabled = true;
  const current = () => versions.at(-1) as ModelVersion;

  function fresh(at: number): ModelVersion {
    return {
      ...{ state: 'enabled', before: 'enabled', used: false, quietSince: at, coverage: undefined },
      ...{ dueAt: 0, forced: false },
    };
  }

  const isCovered = ({ used, coverage, quietSince }: ModelVersion) =>
    !used || (coverage !== undefined && coverage.remaining === 0 && coverage.at >= quietSince);

  function refusal(version: ModelVersion, forced: boolean): Outcome | undefined {
    if (!open.includes(version.state)) return 'key/version-state';
    if (version === current() && enabled) return 'key/version-state';
    return forced || isCovered(version) ? undefined : 'key/version-in-use';
  }

  /** Those of the ordinals, oldest first; undefined when one is not there. */
  function named(ordinals: readonly number[]): ModelVersion[] | undefined {
    const found = [...new Set(ordinals)].toSorted((a, b) => a - b).map((ordinal) => versions[ordinal - 1]);
    return found.includes(undefined) ? undefined : (found as ModelVersion[]);
  }

  return {
    states: () => versions.map(({ state }) => state),
    rotate(at) {
      current().quietSince = at;
      versions.push(fresh(at));
      return 'done';
    },
    encrypt() {
      if (!enabled) return 'key/disabled';
      if (current().state !== 'enabled') return 'key/version-disabled';
      current().used = true;
      return 'done';
    },
    decrypt(ordinal) {
      if (!enabled) return 'key/disabled';
      const { state } = versions[ordinal - 1] as ModelVersion;
      return state === 'enabled' || state === 'decrypt-only' ? 'done' : 'key/version-disabled';
    },
    set(ordinal, state) {
      const version = versions[ordinal - 1];
      if (!version) return 'key/not-found';
      if (!open.includes(version.state)) return 'key/version-state';
      version.state = state;
      return 'done';
    },
    enable(to, at) {
      enabled = to;
      current().quietSince = at;
      return 'done';
    },
    cover(ordinal, remaining, at) {
      const version = versions[ordinal - 1];
      if (version) version.coverage = { remaining, at };
      return 'done';
    },
    schedule(ordinals, forced, dueAt) {
      const chosen = ordinals ? named(ordinals) : versions.filter(({ state }) => open.includes(state));
      if (!chosen) return 'key/not-found';
      if (chosen.length === 0) return 'key/version-state';
      for (const version of chosen) {
        const refused = refusal(version, forced);
        if (refused !== undefined) return refused;
      }
      for (const version of chosen) {
        const needed = forced && !isCovered(version);
        Object.assign(version, {
          before: version.state,
          state: 'destroy-scheduled',
          dueAt,
          forced: needed,
        });
      }
      return 'done';
    },
    restore(ordinals) {
      const chosen = ordinals
        ? named(ordinals)
        : versions.filter(({ state }) => state === 'destroy-scheduled');
      if (!chosen) return 'key/not-found';
      if (chosen.length === 0 || chosen.some(({ state }) => state !== 'destroy-scheduled'))
        return 'key/version-state';
      for (const version of chosen) version.state = version.before;
      return 'done';
    },
    pass(at) {
      for (const version of versions) {
        if (version.state !== 'destroy-scheduled' || version.dueAt > at) continue;
        if (version.forced || isCovered(version)) version.state = 'destroyed';
        else version.dueAt = at + dayMilliseconds;
      }
      return 'done';
    },
  };
}
