import { tagBytes } from '../crypto/payload/ciphers.ts';
import { keyIdOf } from '../crypto/payload/format.ts';
import type { OperationId } from './operations.ts';
import type { Members } from './requests.ts';

// What an answer must have to be the answer to its request. A server that mixes answers up, replays them or lies
// can be seen by this without keys; what only keys can tell, decryption with the right context tells.

type Check = (input: Members, answer: Members) => string | undefined;

const idForm = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** True when `ref` is an id, and the answer has another one. */
function otherId(ref: unknown, id: unknown): boolean {
  return typeof ref === 'string' && idForm.test(ref) && ref !== id;
}

function sameKey({ key }: Members, { id, name }: Members): string | undefined {
  return key === id || key === name ? undefined : '/id';
}

const sameKeyId: Check = ({ key }, { keyId }) => (otherId(key, keyId) ? '/keyId' : undefined);

const nameOf: Check = (input, { name }) => (input['name'] === name ? undefined : '/name');

const magic = 0x53; // 'S'

/** The key a ciphertext names, as text; undefined for one of another format. See src/envelope/README.md. */
function keyIdIn(ciphertext: unknown): string | undefined {
  if (!(ciphertext instanceof Uint8Array) || ciphertext[0] !== magic) return undefined;
  // Format 2 begins with a wrapped data key, which is a ciphertext of format 1.
  const at = ciphertext[1] === 1 ? 4 : ciphertext[1] === 2 ? 10 : undefined;
  if (at === undefined || ciphertext.length < at + 16) return undefined;
  return keyIdOf(ciphertext.subarray(at - 4));
}

function namesAnother(ciphertext: unknown, keyId: unknown): boolean {
  const named = keyIdIn(ciphertext);
  return named !== undefined && named !== keyId;
}

function lengthOf(bytes: unknown): number {
  return bytes instanceof Uint8Array ? bytes.length : 0;
}

const encrypted: Check = ({ key, plaintext }, { ciphertext, keyId }) => {
  if (otherId(key, keyId)) return '/keyId';
  return namesAnother(ciphertext, keyId) || lengthOf(ciphertext) <= lengthOf(plaintext)
    ? '/ciphertext'
    : undefined;
};

const decrypted: Check = ({ key, ciphertext }, { plaintext, keyId }) => {
  if (otherId(key, keyId) || namesAnother(ciphertext, keyId)) return '/keyId';
  return lengthOf(plaintext) >= lengthOf(ciphertext) ? '/plaintext' : undefined;
};

const rewrapped: Check = ({ key, toKey }, { ciphertext, keyId }) => {
  if (otherId(toKey ?? key, keyId)) return '/keyId';
  return namesAnother(ciphertext, keyId) ? '/ciphertext' : undefined;
};

const dataKeys: Check = ({ key, count = 1, bytes = 32, plaintext = false }, answer) => {
  const items = answer['items'] as readonly { plaintext?: Uint8Array; wrapped: Uint8Array }[];
  if (items.length !== count) return '/items';
  const keyId = keyIdIn(items[0]?.wrapped);
  const wrong = items.findIndex(
    (item) =>
      (plaintext === true ? item.plaintext?.length !== bytes : item.plaintext !== undefined) ||
      (keyId !== undefined && (otherId(key, keyId) || namesAnother(item.wrapped, keyId))),
  );
  return wrong < 0 ? undefined : `/items/${wrong}`;
};

const sealedTo: Check = ({ key, plaintext }, { ciphertext, keyId }) => {
  if (otherId(key, keyId)) return '/keyId';
  return lengthOf(ciphertext) === lengthOf(plaintext) + tagBytes ? undefined : '/ciphertext';
};

const openedFrom: Check = ({ key, ciphertext }, { plaintext, keyId }) => {
  if (otherId(key, keyId)) return '/keyId';
  return lengthOf(plaintext) + tagBytes === lengthOf(ciphertext) ? undefined : '/plaintext';
};

const exportedFrom: Check = ({ key, bytes = 32 }, { exported, keyId }) => {
  if (otherId(key, keyId)) return '/keyId';
  return lengthOf(exported) === bytes ? undefined : '/exported';
};

const page: Check = ({ limit = 100 }, { items }) =>
  (items as readonly unknown[]).length > Number(limit) ? '/items' : undefined;

const checks: Partial<Record<OperationId, Check>> = {
  createKey: nameOf,
  listKeys: page,
  getKey: sameKey,
  updateKey: sameKey,
  rotateKey: sameKey,
  listKeyVersions: page,
  updateKeyVersion: (input, { version }) => (input['version'] === version ? undefined : '/version'),
  destroyKeyVersions: sameKeyId,
  restoreKeyVersions: sameKeyId,
  listDestructions: page,
  getRetention: sameKeyId,
  setRetention: sameKeyId,
  encrypt: encrypted,
  decryptWithKey: decrypted,
  decrypt: decrypted,
  rewrap: rewrapped,
  createDataKeys: dataKeys,
  random: (input, { bytes }) => (input['bytes'] === lengthOf(bytes) ? undefined : '/bytes'),
  batch: (input, answer) => batch(input['operations'] as readonly Members[], answer),
  seal: sealedTo,
  authSeal: sealedTo,
  open: openedFrom,
  sendExport: exportedFrom,
  receiveExport: exportedFrom,
  createDataset: nameOf,
  listDatasets: page,
  listEpochs: page,
  createNamespace: nameOf,
  listNamespaces: page,
  createToken: nameOf,
  listTokens: page,
  listAuditRecords: page,
};

const itemChecks: Readonly<Record<string, Check>> = {
  encrypt: encrypted,
  decrypt: decrypted,
  rewrap: rewrapped,
  'data-keys': dataKeys,
  random: (input, { bytes }) => (input['bytes'] === lengthOf(bytes) ? undefined : '/bytes'),
};

function batch(items: readonly Members[], answer: Members): string | undefined {
  for (const [index, result] of (answer['results'] as readonly Members[]).entries()) {
    const item = items[index] ?? {};
    const check = result['status'] === 200 ? itemChecks[String(item['operation'])] : undefined;
    const place = check?.(item, result);
    if (place !== undefined) return `/results/${index}${place}`;
  }
  return undefined;
}

/** Where an answer contradicts its request, as a JSON Pointer; undefined when it does not. */
export function contradiction(operationId: OperationId, input: Members, answer: unknown): string | undefined {
  return checks[operationId]?.(input, answer as Members);
}
