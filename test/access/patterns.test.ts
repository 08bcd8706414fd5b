import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startTestService, type TestService } from '../support/service.ts';
import { freshName, makeKey, makeToken, member, plaintext, seal } from './support.ts';

let service: TestService;
const names = ['pay', 'pay_a', 'payxa', 'pay-roll', 'pay.b', 'pay_a_b', 'pa', 'qay', 'p', 'pay9'];
const ids = new Map<string, string>();
const ciphertexts = new Map<string, string>();
beforeAll(async () => {
  service = await startTestService();
  for (const name of names) {
    ids.set(name, await makeKey(service, name));
    ciphertexts.set(name, await seal(service, name));
  }
});
afterAll(() => service.dispose());

/** What a pattern means, in its plainest words. */
function sees(patterns: readonly string[], name: string): boolean {
  return patterns.some((pattern) =>
    pattern.at(-1) === '*'
      ? name.slice(0, pattern.length - 1) === pattern.slice(0, -1)
      : pattern === name || pattern === ids.get(name),
  );
}

async function listed(token: string): Promise<string[]> {
  const found: string[] = [];
  let cursor = '';
  do {
    const answer = await service.call('GET', `/v1/keys?limit=3${cursor}`, undefined, { token });
    expect(answer.status).toBe(200);
    found.push(...(answer.body['items'] as { name: string }[]).map(({ name }) => name));
    const next = member(answer, 'nextCursor');
    cursor = next === undefined ? '' : `&cursor=${next}`;
  } while (cursor !== '');
  return found;
}

const scopes = ['keys:admin', 'keys:encrypt', 'keys:decrypt', 'keys:rewrap'];

/** Guarantees that patterns hide and show the same keys in every operation, by name and by id; `_` is no wildcard. */
test.for([
  { given: ['pay'] },
  { given: ['pay_*'] },
  { given: ['pay*'] },
  { given: ['*'] },
  { given: ['pay_a', 'q*'] },
  { given: ['nothing', 'pay.*'] },
  { given: ['id of payxa', 'p'] },
])('$given', async ({ given }) => {
  const patterns = given.map((text) => (text === 'id of payxa' ? (ids.get('payxa') ?? '') : text));
  const { secret: token } = await makeToken(service, { scopes, keys: patterns });
  expect(await listed(token)).toEqual(names.filter((name) => sees(patterns, name)));
  for (const name of names) {
    const id = ids.get(name) ?? '';
    const ciphertext = ciphertexts.get(name);
    const seen = sees(patterns, name);
    const call = (method: string, path: string, body?: unknown) =>
      service.call(method, path, body, { token });
    for (const ref of [name, id]) {
      const at = `/v1/keys/${ref}`;
      const answers = [
        await call('GET', at),
        await call('GET', `${at}/versions`),
        await call('PATCH', at, { tags: {} }),
        await call('POST', `${at}/encrypt`, { plaintext }),
        await call('POST', `${at}/data-keys`, {}),
      ];
      const codes = answers.map(({ status, body }) => [status, body['code']]);
      expect([name, codes]).toEqual([
        name,
        answers.map(() => (seen ? [200, undefined] : [404, 'key/not-found'])),
      ]);
    }
    const opened = [
      await call('POST', '/v1/decrypt', { ciphertext }),
      await call('POST', `/v1/keys/${name}/decrypt`, { ciphertext }),
      await call('POST', `/v1/keys/${id}/rewrap`, { ciphertext }),
    ];
    const codes = opened.map(({ status, body }) => [status, body['code']]);
    expect([name, codes]).toEqual([
      name,
      opened.map(() => (seen ? [200, undefined] : [400, 'envelope/decryption-failed'])),
    ]);
  }
});

/** Guarantees that rewrapping cannot carry a message to a key the caller does not see. */
test('moves nothing to a hidden key', async () => {
  const { secret: token } = await makeToken(service, { scopes, keys: ['pay'] });
  const ciphertext = ciphertexts.get('pay');
  for (const toKey of ['payxa', ids.get('payxa'), 'no-such-key']) {
    const answer = await service.call('POST', '/v1/keys/pay/rewrap', { ciphertext, toKey }, { token });
    expect([answer.status, answer.body['code']]).toEqual([404, 'key/not-found']);
  }
});

/** Guarantees that a key can only be created under a name its creator will see. */
test('creates keys within the patterns only', async () => {
  const { secret: token } = await makeToken(service, {
    scopes,
    keys: ['new_*', 'exact', ids.get('pay') ?? ''],
  });
  for (const [name, status] of [
    ['new_1', 201],
    ['newx1', 403],
    ['exact', 201],
    ['exact-not', 403],
    ['pay', 403],
    ['elsewhere', 403],
  ] as const) {
    const answer = await service.call('POST', '/v1/keys', { name }, { token });
    expect([name, answer.status]).toEqual([name, status]);
  }
});

/** Guarantees the same meaning for patterns nobody thought of. */
test('lists exactly what the patterns match', { timeout: 60_000 }, async () => {
  const piece = fc.string({
    unit: fc.constantFrom('p', 'a', 'y', '_', '-', '.'),
    minLength: 0,
    maxLength: 4,
  });
  const pattern = fc
    .tuple(fc.constantFrom('p', 'q', 'pa', 'pay'), piece, fc.constantFrom('', '*'))
    .map((parts) => parts.join(''));
  await fc.assert(
    fc.asyncProperty(fc.array(pattern, { minLength: 1, maxLength: 4 }), async (patterns) => {
      const { secret } = await makeToken(service, { scopes: ['keys:decrypt'], keys: patterns });
      const own = (await listed(secret)).filter((name) => ids.has(name));
      expect(own).toEqual(names.filter((name) => sees(patterns, name)));
    }),
    { numRuns: 40 },
  );
});

/** Guarantees that nobody hands out more than they have: service scopes, keys outside their patterns, other namespaces. */
test.for([
  { holder: ['access:admin'], give: ['service:admin'], code: 'access/denied' },
  { holder: ['access:admin'], give: ['metrics:read'], code: 'access/denied' },
  { holder: ['access:admin', 'metrics:read'], give: ['keys:encrypt', 'metrics:read'], code: 'access/denied' },
  { holder: ['access:admin'], give: ['keys:decrypt'], code: undefined },
  { holder: ['access:admin', 'service:admin'], give: ['service:admin'], code: undefined },
  { holder: ['service:admin'], give: ['keys:decrypt'], code: 'access/denied' },
  { holder: ['access:admin'], namespace: 'default', give: ['keys:encrypt'], code: undefined },
  {
    holder: ['access:admin'],
    namespace: 'unknown',
    give: ['keys:encrypt'],
    code: 'access/namespace-not-found',
  },
  {
    holder: ['service:admin'],
    namespace: 'unknown',
    give: ['keys:encrypt'],
    code: 'access/namespace-not-found',
  },
  { holder: ['access:admin'], own: ['pay*'], give: ['keys:encrypt'], code: 'access/denied' },
  { holder: ['access:admin'], own: ['pay*'], keys: ['*'], give: ['keys:encrypt'], code: 'access/denied' },
  { holder: ['access:admin'], own: ['pay*'], keys: ['pa*'], give: ['keys:encrypt'], code: 'access/denied' },
  { holder: ['access:admin'], own: ['pay*'], keys: ['pay*'], give: ['keys:encrypt'], code: undefined },
  {
    holder: ['access:admin'],
    own: ['pay*'],
    keys: ['pay', 'pay_*'],
    give: ['keys:encrypt'],
    code: undefined,
  },
  {
    holder: ['access:admin'],
    own: ['pay*'],
    keys: ['pay', 'q'],
    give: ['keys:encrypt'],
    code: 'access/denied',
  },
  {
    holder: ['access:admin'],
    own: ['pay_*'],
    keys: ['payxa'],
    give: ['keys:encrypt'],
    code: 'access/denied',
  },
  { holder: ['access:admin'], own: ['pay'], keys: ['pay*'], give: ['keys:encrypt'], code: 'access/denied' },
  { holder: ['access:admin', 'service:admin'], own: ['pay'], give: ['service:admin'], code: 'access/denied' },
])(
  '$holder $own gives $give $keys $namespace: $code',
  async ({ holder, own, keys, namespace, give, code }) => {
    const { secret } = await makeToken(service, { scopes: holder, ...(own && { keys: own }) });
    const name = freshName('given');
    const request = { name, scopes: give, ...(keys && { keys }), ...(namespace && { namespace }) };
    const answer = await service.call('POST', '/v1/access/tokens', request, { token: secret });
    expect(answer.body['code']).toBe(code);
    expect(answer.status).toBe(
      { 'access/denied': 403, 'access/namespace-not-found': 404, none: 201 }[code ?? 'none'],
    );
    const { text } = await service.call('GET', '/v1/access/tokens?limit=1000');
    expect(text.includes(`"${name}"`)).toBe(code === undefined);
  },
);

/** Guarantees that patterns have the form of a name or of its beginning. */
test.for(['', '**', 'a**', '*a', 'a*b', 'A', 'a%', '_a*', 'a b', '-x', 'x'.repeat(64)])(
  'refuses the pattern "%s"',
  async (pattern) => {
    const request = { name: freshName(), scopes: ['keys:encrypt'], keys: [pattern] };
    const answer = await service.call('POST', '/v1/access/tokens', request);
    expect([answer.status, answer.body['code']]).toEqual([400, 'request/invalid']);
  },
);
