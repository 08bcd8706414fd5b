import { expect, test } from 'vitest';
import { createLinkedList, type Linked } from '../../src/core/linked-list.ts';

interface Member extends Linked<Member> {
  readonly name: string;
}

function member(name: string): Member {
  return { name, before: undefined, after: undefined };
}

/** Guarantees the order of arrival through removals at either end, in the middle, of strangers and of the last one. */
test('keeps the order in which members came', () => {
  const list = createLinkedList<Member>();
  const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(member) as [Member, Member, Member, Member];
  const names = () => [...list].map(({ name }) => name).join('');
  for (const item of [a, b, c, d]) list.append(item);
  expect([names(), list.size, list.first()?.name]).toEqual(['abcd', 4, 'a']);
  list.renew(b);
  expect(names()).toBe('acdb');
  list.renew(b);
  list.remove(c);
  list.remove(c);
  list.remove(member('stranger'));
  expect([names(), list.size]).toEqual(['adb', 3]);
  list.remove(a);
  list.remove(b);
  list.remove(d);
  expect([names(), list.size, list.first()]).toEqual(['', 0, undefined]);
  list.append(a);
  expect(names()).toBe('a');
});

/** Guarantees that a loop over the list may remove the member it is at, and that what left refers to nobody. */
test('members may leave during a loop', () => {
  const list = createLinkedList<Member>();
  const members = ['a', 'b', 'c'].map(member);
  for (const item of members) list.append(item);
  const seen: string[] = [];
  for (const item of list) {
    seen.push(item.name);
    list.remove(item);
  }
  expect(seen).toEqual(['a', 'b', 'c']);
  for (const item of members) expect([item.before, item.after]).toEqual([undefined, undefined]);
});
