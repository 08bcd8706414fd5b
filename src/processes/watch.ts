import type { Child } from './child.ts';

/**
 * Looks for processes that give no sign of life. A supervisor that was itself kept from its timers (a machine that was
 * suspended, SIGSTOP) has not heard what they said: it waits anew.
 */
export function createWatch(
  children: ReadonlySet<Child>,
  { beatMs, hungAfterMs }: { readonly beatMs: number; readonly hungAfterMs: number },
  onHung: (child: Child, silentMs: number) => void,
): { end(): void } {
  let lookedAt = performance.now();
  const told = new WeakSet<Child>();
  const timer = setInterval(() => {
    const now = performance.now();
    const absent = now - lookedAt > beatMs + hungAfterMs / 4;
    lookedAt = now;
    for (const child of children) {
      if (absent) child.heardAt = Math.max(child.heardAt, now);
      const silentMs = now - child.heardAt;
      if (silentMs <= hungAfterMs || told.has(child)) continue;
      told.add(child);
      onHung(child, silentMs);
    }
  }, beatMs);
  return { end: () => clearInterval(timer) };
}
