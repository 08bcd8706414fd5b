import type { CallOptions, TestService } from '../support/service.ts';

export type Context = Readonly<Record<string, string>>;

/** A result of a batch: the members a test looks at. */
export interface Result {
  readonly id?: string;
  readonly status: number;
  readonly ciphertext?: string;
  readonly plaintext?: string;
  readonly keyId?: string;
  readonly keyVersion?: number;
  readonly bytes?: string;
  readonly items?: readonly {
    readonly plaintext?: string;
    readonly wrapped: string;
    readonly keyVersion: number;
  }[];
  readonly problem?: { readonly code: string; readonly status: number; readonly requestId: string };
}

export interface KeyAnswer {
  readonly id: string;
  readonly name: string;
  readonly currentVersion: number;
}

/** Calls that must succeed, and their answers. */
export function driver(service: TestService) {
  async function must(method: string, path: string, body?: unknown, options?: CallOptions) {
    const answer = await service.call(method, path, body, options);
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`);
    return answer.body;
  }
  return {
    must,
    createKey: async (name: string, more: object = {}, options?: CallOptions): Promise<KeyAnswer> =>
      (await must('POST', '/v1/keys', { name, ...more }, options)) as unknown as KeyAnswer,
    async createToken(request: object): Promise<string> {
      tokens += 1;
      const token = await must('POST', '/v1/access/tokens', { name: `token-${tokens}`, ...request });
      return String(token['secret']);
    },
    async encrypt(
      key: string,
      plaintext: Uint8Array,
      context: Context = {},
      options?: CallOptions,
    ): Promise<Buffer> {
      const body = { plaintext: base64(plaintext), context };
      const sealed = await must('POST', `/v1/keys/${key}/encrypt`, body, options);
      return Buffer.from(String(sealed['ciphertext']), 'base64');
    },
    async decrypt(ciphertext: Uint8Array, context: Context = {}, options?: CallOptions): Promise<Buffer> {
      const opened = await must('POST', '/v1/decrypt', { ciphertext: base64(ciphertext), context }, options);
      return Buffer.from(String(opened['plaintext']), 'base64');
    },
    async batch(operations: readonly object[], options?: CallOptions): Promise<readonly Result[]> {
      const { results } = await must('POST', '/v1/batch', { operations }, options);
      return results as Result[];
    },
  };
}

let tokens = 0;

export function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}

export function bytes(text = ''): Buffer {
  return Buffer.from(text, 'base64');
}

/** A copy with one bit turned. */
export function flipped(from: Uint8Array, bit: number): Buffer {
  const copy = Buffer.from(from);
  copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
  return copy;
}

/** A copy with `bytes` written at `at`. */
export function overwritten(from: Uint8Array, at: number, with_: Uint8Array): Buffer {
  const copy = Buffer.from(from);
  copy.set(with_, at);
  return copy;
}

/** An answer's text without what tells requests apart. */
export function withoutRequestId(text: string): string {
  return text.replace(/"requestId":"[^"]+"/, '"requestId":""');
}
