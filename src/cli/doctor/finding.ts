/** What one check found. Whatever is not ok says what to do next. */
export type Finding =
  | { readonly check: string; readonly state: 'ok'; readonly text: string }
  | {
      readonly check: string;
      readonly state: 'warning' | 'failed' | 'unchecked';
      readonly text: string;
      readonly next: string;
    };

export function ok(check: string, text: string): Finding {
  return { check, state: 'ok', text };
}

export function warning(check: string, text: string, next: string): Finding {
  return { check, state: 'warning', text, next };
}

export function failed(check: string, text: string, next: string): Finding {
  return { check, state: 'failed', text, next };
}

export function unchecked(check: string, text: string, next: string): Finding {
  return { check, state: 'unchecked', text, next };
}
