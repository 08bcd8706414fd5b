import { StatheraError } from './errors.ts';
import type { Members } from './requests.ts';
import type { CallOptions, ListOptions } from './types.ts';

type CallPage = (input?: Members, options?: CallOptions) => Promise<unknown>;

interface Page {
  readonly items: readonly unknown[];
  readonly nextCursor?: string;
}

const mostItems = 1_000;

/** A call for one page, and all pages by `all`: one at a time, the next when the items of this one are taken. */
export function createList(call: CallPage) {
  return Object.assign((input?: Members, options?: CallOptions) => call(input, options), {
    async *all(input: Members = {}, { maxItems = Number.POSITIVE_INFINITY, ...options }: ListOptions = {}) {
      let left = maxItems;
      let cursor: string | undefined;
      while (left > 0) {
        const limit = input['limit'] ?? Math.min(mostItems, left);
        const page = (await call({ ...input, limit, cursor }, options)) as Page;
        for (const item of page.items) {
          if (left <= 0) return;
          left -= 1;
          yield item;
        }
        if (page.nextCursor === undefined) return;
        // It would never end.
        if (page.nextCursor === cursor) throw stuck();
        cursor = page.nextCursor;
      }
    },
  });
}

function stuck(): StatheraError {
  return new StatheraError(
    'client/answer-invalid',
    'A page of the list leads to itself: the service is broken.',
  );
}
