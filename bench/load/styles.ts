// How servers of this kind are asked to encrypt and decrypt.
import { type AwsCredentials, signature } from './sigv4.ts';

export interface Exchange {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface Style {
  encrypt(plaintext: Uint8Array): Exchange;
  /** What an answer to `encrypt` gives to decrypt; undefined when it does not. */
  ciphertext(answer: unknown): string | undefined;
  decrypt(ciphertext: string): Exchange;
}

export interface StyleSettings {
  readonly key: string;
  /** As it is sent: host and port. */
  readonly host: string;
}

export function statheraStyle({ key, host }: StyleSettings, token: string): Style {
  const post = (action: string, body: object): Exchange => ({
    path: `/v1/keys/${encodeURIComponent(key)}/${action}`,
    headers: { Host: host, 'Content-Type': 'application/json', Authorization: `Bearer ${token}` },
    body: JSON.stringify(body),
  });
  return {
    encrypt: (plaintext) => post('encrypt', { plaintext: base64(plaintext) }),
    ciphertext: (answer) => text(member(answer, 'ciphertext')),
    decrypt: (ciphertext) => post('decrypt', { ciphertext }),
  };
}

/** The transit engine at its usual place. */
export function vaultStyle({ key, host }: StyleSettings, token: string): Style {
  const post = (action: string, body: object): Exchange => ({
    path: `/v1/transit/${action}/${encodeURIComponent(key)}`,
    headers: { Host: host, 'Content-Type': 'application/json', 'X-Vault-Token': token },
    body: JSON.stringify(body),
  });
  return {
    encrypt: (plaintext) => post('encrypt', { plaintext: base64(plaintext) }),
    ciphertext: (answer) => text(member(member(answer, 'data'), 'ciphertext')),
    decrypt: (ciphertext) => post('decrypt', { ciphertext }),
  };
}

/** @param now in milliseconds: a signature is good for minutes, so an exchange is made anew from time to time */
export function awsStyle(
  { key, host, region }: StyleSettings & { readonly region: string },
  credentials: AwsCredentials,
  now: () => number,
): Style {
  function post(action: string, members: object): Exchange {
    const body = JSON.stringify(members);
    const headers = {
      Host: host,
      'Content-Type': 'application/x-amz-json-1.1',
      'X-Amz-Date': new Date(now()).toISOString().replaceAll(/[-:]|\.\d+/g, ''),
      'X-Amz-Target': `TrentService.${action}`,
      ...(credentials.sessionToken !== undefined && { 'X-Amz-Security-Token': credentials.sessionToken }),
    };
    const authorization = signature({ headers, body, region, service: 'kms' }, credentials);
    return { path: '/', headers: { ...headers, Authorization: authorization }, body };
  }
  return {
    encrypt: (plaintext) => post('Encrypt', { KeyId: key, Plaintext: base64(plaintext) }),
    ciphertext: (answer) => text(member(answer, 'CiphertextBlob')),
    decrypt: (ciphertext) => post('Decrypt', { KeyId: key, CiphertextBlob: ciphertext }),
  };
}

/** The exchange as it goes over the wire. */
export function wireBytes({ path, headers, body }: Exchange): Buffer {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.from(
    `POST ${path} HTTP/1.1\r\n${lines.join('')}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
