import { keysOfRoots } from '../../enrolment.ts';
import type { Store } from '../../store/store.ts';
import { type Finding, failed, ok, warning } from './finding.ts';

/** The processes that prefer it do not start where it has no keys. */
export async function checkSecondEnrolment(store: Store, rootId: string): Promise<Finding[]> {
  const wrapped = (await keysOfRoots(store)).find(({ id }) => id === rootId)?.wrapped ?? 0;
  if (wrapped > 0) return [];
  return [failed('second token', 'it is not enrolled in the database', 'run `stathera hsm enrol second`')];
}

/** Whether this node's token has the keys of the service, and whether others wait for theirs. */
export async function checkEnrolment(store: Store, rootId: string): Promise<Finding> {
  const check = 'enrolment';
  const roots = await keysOfRoots(store);
  const own = roots.find(({ id }) => id === rootId);
  if (!own || own.wrapped === 0) {
    return failed(
      check,
      own ? 'this token is approved, but has no keys yet' : 'this token is not enrolled in the database',
      own
        ? 'run `stathera hsm enrol accept`'
        : 'use the token that is, or enrol this one: `stathera hsm enrol request`',
    );
  }
  if (own.lacking > 0) {
    const text = `${own.lacking} system keys are not there for this token`;
    return warning(check, text, 'start a node whose token has them: it hands them over within a minute');
  }
  const behind = roots.filter(({ lacking }) => lacking > 0);
  if (behind.length > 0) {
    const text = `${behind.length} other tokens wait for system keys: ${behind.map(({ label }) => label).join(', ')}`;
    return warning(check, text, 'start this node: it hands them over within a minute');
  }
  return ok(check, `this token has every system key; ${roots.length} enrolled in all`);
}
