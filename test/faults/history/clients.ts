import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Answer, TestService } from '../../support/service.ts';
import type { Seen, What } from './history.ts';
import type { Nodes } from './nodes.ts';

/** What the clients know while they work, and what they saw. */
export interface Workload {
  readonly seen: Seen[];
  /** Clients that work until `stop`. */
  run(): void;
  stop(): Promise<void>;
}

interface Token {
  readonly id: string;
  readonly secret: string;
}

interface Sealed {
  readonly key: string;
  readonly version: number;
  readonly ciphertext: string;
  readonly plaintext: string;
}

/** Kept for decrypting: some of the first and some of the newest. */
const keptSealed = 400;

/**
 * Users encrypt and decrypt with tokens that come and go; an operator a key rotates it, and disables and enables it and
 * its versions; another makes tokens and revokes them. Each goes to any process, and none waits for another.
 */
export function createWorkload({
  nodes,
  admin,
  keys,
  users,
  random,
}: {
  nodes: Nodes;
  /** The secret of a token with every scope. */
  admin: string;
  keys: readonly string[];
  users: number;
  random: () => number;
}): Workload {
  const seen: Seen[] = [];
  const sealed: Sealed[] = [];
  const tokens: Token[] = [];
  let going = true;
  let working: Promise<unknown> | undefined;

  const pick = <T>(from: readonly T[]): T | undefined => from[Math.floor(random() * from.length)];

  async function call(
    method: string,
    path: string,
    body: unknown,
    secret: string,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Omit<Seen, 'what'> & { body: Answer['body'] }> {
    const requestId = randomUUID();
    const node = nodes.pick(random);
    const began = performance.now();
    const answer = await node
      ?.call(method, path, body, { token: secret, headers: { ...headers, 'x-request-id': requestId } })
      .catch(() => undefined);
    const ended = performance.now();
    if (!answer) await delay(20);
    const outcome = answer === undefined ? 'unknown' : answer.status < 300 ? 'accepted' : 'refused';
    return { requestId, began, ended, outcome, code: text(answer?.body['code']), body: answer?.body ?? {} };
  }

  function note({ body: _, ...found }: Awaited<ReturnType<typeof call>>, what: What): void {
    seen.push({ ...found, what });
  }

  async function encrypt(key: string, token: Token): Promise<void> {
    const plaintext = Buffer.from(randomUUID()).toString('base64');
    const found = await call('POST', `/v1/keys/${key}/encrypt`, { plaintext }, token.secret);
    const { ciphertext, keyVersion } = found.body;
    const version = Number(keyVersion);
    note(found, { kind: 'encrypt', key, token: token.id, plaintext, ciphertext: text(ciphertext), version });
    if (found.outcome !== 'accepted') return;
    const place =
      sealed.length < keptSealed ? sealed.length : Math.floor((random() * keptSealed) / 2 + keptSealed / 2);
    sealed[place] = { key, version, plaintext, ciphertext: String(ciphertext) };
  }

  async function decrypt(
    { key, version, ciphertext, plaintext: expected }: Sealed,
    token: Token,
  ): Promise<void> {
    const found = await call('POST', '/v1/decrypt', { ciphertext }, token.secret);
    const plaintext = text(found.body['plaintext']);
    note(found, { kind: 'decrypt', key, token: token.id, expected, version, plaintext });
  }

  async function use(): Promise<void> {
    while (going) {
      const [key, token, message] = [pick(keys), pick(tokens), pick(sealed)];
      if (key === undefined || token === undefined) await delay(5);
      else if (message === undefined || random() < 0.5) await encrypt(key, token);
      else await decrypt(message, token);
    }
  }

  async function rotate(key: string): Promise<void> {
    const attempt = randomUUID();
    // Again under the same Idempotency-Key until an answer tells what came of it.
    for (let tries = 0; tries < 4; tries += 1) {
      const headers = { 'idempotency-key': attempt };
      const found = await call('POST', `/v1/keys/${key}/rotate`, {}, admin, headers);
      const version = Number(found.body['currentVersion']);
      note(found, { kind: 'rotate', key, attempt, version });
      if (found.outcome === 'accepted' || (found.code !== undefined && !doubtful.has(found.code))) return;
    }
  }

  /** Disables, and after a while enables again, until it was heard. */
  async function disable(key: string, version?: number): Promise<void> {
    const path = version === undefined ? `/v1/keys/${key}` : `/v1/keys/${key}/versions/${version}`;
    const set = async (usable: boolean): Promise<Seen['outcome']> => {
      const found = await call('PATCH', path, { state: usable ? 'enabled' : 'disabled' }, admin);
      const what =
        version === undefined ? { kind: 'set-key' as const } : { kind: 'set-version' as const, version };
      note(found, { ...what, key, usable });
      return found.outcome;
    };
    if ((await set(false)) === 'accepted') await delay(300 + random() * 700);
    while (going && (await set(true)) !== 'accepted') await delay(100);
  }

  async function operate(key: string): Promise<void> {
    for (let version = 1; going; ) {
      const dice = random();
      if (dice < 0.5) {
        await rotate(key);
        version += 1;
      } else if (dice < 0.75) await disable(key);
      // Not the newest: with that one the key could not encrypt.
      else if (version > 2) await disable(key, 1 + Math.floor(random() * (version - 2)));
      await delay(random() * 200);
    }
  }

  async function admit(): Promise<void> {
    while (going) {
      if (tokens.length < 4) {
        const scopes = ['keys:encrypt', 'keys:decrypt'];
        const { body } = await call('POST', '/v1/access/tokens', { name: 'user', scopes }, admin);
        const [id, secret] = [text(body['id']), text(body['secret'])];
        if (id !== undefined && secret !== undefined) tokens.push({ id, secret });
      } else {
        const token = pick(tokens);
        if (token) {
          const found = await call('DELETE', `/v1/access/tokens/${token.id}`, undefined, admin);
          note(found, { kind: 'revoke', token: token.id });
          // Used for a while yet: it must be refused.
          if (found.outcome === 'accepted') {
            await delay(random() * 300);
            tokens.splice(tokens.indexOf(token), 1);
          }
        }
      }
      await delay(random() * 200);
    }
  }

  return {
    seen,
    run() {
      working = Promise.all([...Array.from({ length: users }, use), ...keys.map(operate), admit()]);
    },
    async stop() {
      going = false;
      await working;
    },
  };
}

/** After these nobody knows whether it was done. */
const doubtful = new Set(['store/unavailable', 'audit/unavailable']);

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

/** Makes the keys, and everything usable again at the end. */
export async function makeKeys(node: TestService, names: readonly string[]): Promise<void> {
  for (const name of names) {
    const answer = await node.call('POST', '/v1/keys', { name });
    if (answer.status !== 201) throw new Error(`no key: ${answer.text}`);
  }
}
