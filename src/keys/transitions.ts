import { ServiceError } from '../core/errors.ts';
import type { VersionState } from '../store/schema.ts';

/** Who may be enabled again at once: the switch of `updateVersion`, in any direction, as often as one likes. */
const reversible: readonly VersionState[] = ['enabled', 'decrypt-only', 'disabled'];

/**
 * Every change of a version's state there is. `set`: the switch. `schedule`: its destruction begins with a time in
 * which it is refused and can be restored. `restore`: back to the state it had. `destroy`: the key is gone.
 * @see NIST SP 800-57 Part 1 §7.3
 */
const transitions = {
  set: { from: reversible, to: reversible },
  schedule: { from: reversible, to: ['destroy-scheduled'] },
  restore: { from: ['destroy-scheduled'], to: reversible },
  destroy: { from: ['destroy-scheduled'], to: ['destroyed'] },
} as const satisfies Record<string, Record<'from' | 'to', readonly VersionState[]>>;

export type Transition = keyof typeof transitions;

/** Whether a version in state `from` may come to `to` by this. */
export function isAllowed(by: Transition, from: VersionState, to: VersionState): boolean {
  const { from: before, to: after }: Record<'from' | 'to', readonly VersionState[]> = transitions[by];
  return before.includes(from) && after.includes(to);
}

/** @throws key/version-state with what to do instead */
export function requireAllowed(by: Transition, from: VersionState, to: VersionState): void {
  if (!isAllowed(by, from, to)) throw notFrom(from);
}

function notFrom(from: VersionState): ServiceError {
  const texts: Readonly<Record<VersionState, string>> = {
    enabled: 'The destruction of this version is not scheduled.',
    'decrypt-only': 'The destruction of this version is not scheduled.',
    disabled: 'The destruction of this version is not scheduled.',
    'destroy-scheduled': 'The destruction of this version is scheduled: restore it first.',
    destroyed: 'This version is destroyed: nothing brings it back.',
  };
  return new ServiceError('key/version-state', texts[from]);
}
