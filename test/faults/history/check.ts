import type { History, Seen, What } from './history.ts';

/** What must never have happened, and the requests that show it. */
export interface Violation {
  readonly rule:
    | 'lost'
    | 'wrong-plaintext'
    | 'after-revocation'
    | 'after-disable'
    | 'old-version'
    | Records
    | 'ran-twice';
  readonly requests: readonly string[];
}

type Records = 'unrecorded' | 'recorded-twice' | 'recorded-otherwise';

/** @param boundMilliseconds how long after an acknowledged change another process may not have seen it */
export function check(history: History, boundMilliseconds: number): Violation[] {
  return [
    ...lost(history),
    ...afterRevocation(history, boundMilliseconds),
    ...afterDisable(history, boundMilliseconds),
    ...oldVersions(history, boundMilliseconds),
    ...records(history),
    ...twice(history),
  ];
}

type Of<Kind extends What['kind']> = Seen & { readonly what: Extract<What, { kind: Kind }> };

function of<Kind extends What['kind']>({ seen }: History, kind: Kind): Of<Kind>[] {
  return seen.filter((one): one is Of<Kind> => one.what.kind === kind);
}

const accepted = ({ outcome }: Seen): boolean => outcome === 'accepted';

/** Uses of keys: they need a token, a key and a version that may be used. */
function uses(history: History): (Of<'encrypt'> | Of<'decrypt'>)[] {
  return [...of(history, 'encrypt'), ...of(history, 'decrypt')].filter(accepted);
}

function* lost(history: History): Iterable<Violation> {
  for (const { what, requestId } of of(history, 'encrypt').filter(accepted)) {
    if (what.ciphertext === undefined || history.opened.get(what.ciphertext) !== what.plaintext)
      yield { rule: 'lost', requests: [requestId] };
  }
  for (const { what, requestId } of of(history, 'decrypt').filter(accepted)) {
    if (what.plaintext !== what.expected) yield { rule: 'wrong-plaintext', requests: [requestId] };
  }
}

function* afterRevocation(history: History, bound: number): Iterable<Violation> {
  const revoked = new Map<string, Seen>();
  for (const one of of(history, 'revoke').filter(accepted)) {
    const first = revoked.get(one.what.token);
    if (!first || one.ended < first.ended) revoked.set(one.what.token, one);
  }
  for (const use of uses(history)) {
    const end = revoked.get(use.what.token);
    if (end && use.began > end.ended + bound)
      yield { rule: 'after-revocation', requests: [end.requestId, use.requestId] };
  }
}

/** One operator changes a key, one request after the other: from an answer to the next request it stays as it was. */
function* afterDisable(history: History, bound: number): Iterable<Violation> {
  const settings = [...of(history, 'set-key'), ...of(history, 'set-version')];
  const byPlace = Map.groupBy(settings, ({ what }) => placeOf(what));
  for (const all of byPlace.values()) {
    const inOrder = all.toSorted((a, b) => a.began - b.began);
    for (const [index, set] of inOrder.entries()) {
      if (!accepted(set) || set.what.usable) continue;
      const until = inOrder[index + 1]?.began ?? Number.POSITIVE_INFINITY;
      for (const use of uses(history)) {
        const concerned =
          use.what.key === set.what.key &&
          (set.what.kind === 'set-key' || use.what.version === set.what.version);
        if (concerned && use.began > set.ended + bound && use.ended < until)
          yield { rule: 'after-disable', requests: [set.requestId, use.requestId] };
      }
    }
  }
}

function placeOf(what: Of<'set-key'>['what'] | Of<'set-version'>['what']): string {
  return what.kind === 'set-key' ? what.key : `${what.key}/${what.version}`;
}

function* oldVersions(history: History, bound: number): Iterable<Violation> {
  for (const rotation of of(history, 'rotate').filter(accepted)) {
    for (const use of of(history, 'encrypt').filter(accepted)) {
      const older = (use.what.version ?? 0) < (rotation.what.version ?? 0);
      if (older && use.what.key === rotation.what.key && use.began > rotation.ended + bound)
        yield { rule: 'old-version', requests: [rotation.requestId, use.requestId] };
    }
  }
}

/** Every answer that something was done has one record which says so; whatever else came back, no more than one. */
function* records({ seen, records: found }: History): Iterable<Violation> {
  for (const { requestId, outcome, code } of seen) {
    const outcomes = found.get(requestId) ?? [];
    if (outcomes.length > 1) yield { rule: 'recorded-twice', requests: [requestId] };
    if (outcome === 'accepted' && outcomes.length === 0) yield { rule: 'unrecorded', requests: [requestId] };
    const told = outcome === 'accepted' ? 'allowed' : 'refused or failed';
    const says = outcomes[0] === 'allowed' ? 'allowed' : 'refused or failed';
    const known = outcome !== 'unknown' && !doubtful.has(code ?? '');
    if (known && outcomes.length === 1 && told !== says)
      yield { rule: 'recorded-otherwise', requests: [requestId] };
  }
}

/** A rotation happens once, however often it is asked for under one Idempotency-Key, and makes a version of its own. */
function* twice(history: History): Iterable<Violation> {
  const rotations = of(history, 'rotate');
  for (const [key, all] of Map.groupBy(rotations, ({ what }) => what.key)) {
    const attempts = Map.groupBy(all, ({ what }) => what.attempt);
    const made = (history.versions.get(key) ?? []).length - 1;
    const possible = [...attempts.values()].filter((requests) => !requests.every(refusedForGood)).length;
    const requests = all.map(({ requestId }) => requestId);
    if (made > possible) yield { rule: 'ran-twice', requests };
    const byVersion = new Map<number, string>();
    for (const [attempt, answered] of attempts) {
      const versions = new Set(answered.filter(accepted).map(({ what }) => what.version ?? 0));
      if (versions.size > 1)
        yield { rule: 'ran-twice', requests: answered.map(({ requestId }) => requestId) };
      for (const version of versions) {
        if (byVersion.has(version)) yield { rule: 'ran-twice', requests };
        byVersion.set(version, attempt);
        if (!history.versions.get(key)?.includes(version)) yield { rule: 'lost', requests };
      }
    }
  }
}

/** Refusals that say, or may say, that it is not known whether it was done. */
const doubtful = new Set(['store/unavailable', 'audit/unavailable']);

function refusedForGood({ outcome, code }: Seen): boolean {
  return outcome === 'refused' && !doubtful.has(code ?? '');
}
