// One edit for every column of every authenticated table, and what the service answers to the row's owner.

export type Value = string | number | Buffer | null;
export type Edit = (value: Value) => Value;

export const next: Edit = (value) => Number(value) + 1;
export const bit: Edit = (value) => {
  const copy = Buffer.from(value as Buffer);
  copy[copy.length - 1] = (copy.at(-1) ?? 0) ^ 1;
  return copy;
};
export const other: Edit = () => '019300d4-0000-7000-8000-000000000000';
export const to =
  (value: Value): Edit =>
  () =>
    value;

/** What each answer was: describe by name, describe by id, encrypt, decrypt, versions. */
export interface Edited {
  readonly edit: Edit;
  /** Calls that go on, rightly: what was edited is not what they use. */
  readonly answers: string;
}

const refused = '500 500 500 500 500';
export const keyColumns: Record<string, Edited> = {
  // The row is another key now: there is none of the old id, and the name leads to a row that is no longer authentic.
  id: { edit: other, answers: '500 404 500 400 500' },
  namespace_id: { edit: other, answers: '404 500 404 500 404' },
  name: { edit: to('renamed'), answers: '404 500 404 500 404' },
  algorithm: { edit: to('aes-128-gcm'), answers: refused },
  purpose: { edit: to('sign'), answers: refused },
  protection: { edit: to('derived'), answers: refused },
  exportable: { edit: to(1), answers: refused },
  state: { edit: to('enabled'), answers: refused },
  description: { edit: to('harmless'), answers: refused },
  tags: { edit: to('{"owner":"me"}'), answers: refused },
  current_version_id: { edit: other, answers: refused },
  current_ordinal: { edit: next, answers: refused },
  data_key_reuse: { edit: to('{"messages":9,"bytes":9,"seconds":9}'), answers: refused },
  origin: { edit: to('external'), answers: refused },
  created_at: { edit: next, answers: refused },
  updated_at: { edit: next, answers: refused },
  revision: { edit: next, answers: refused },
  mac: { edit: bit, answers: refused },
};

export const versionRefused = '200 200 500 500 500';
export const versionColumns: Record<string, Edited> = {
  id: { edit: other, answers: '200 200 500 400 500' },
  namespace_id: { edit: other, answers: versionRefused },
  // No version of this key any more in a list.
  key_id: { edit: other, answers: '200 200 500 500 200' },
  ordinal: { edit: next, answers: versionRefused },
  algorithm: { edit: to('aes-128-gcm'), answers: versionRefused },
  usage: { edit: to('sign'), answers: versionRefused },
  protection: { edit: to('derived'), answers: versionRefused },
  exportable: { edit: to(1), answers: versionRefused },
  state: { edit: to('enabled'), answers: versionRefused },
  kek_id: { edit: other, answers: versionRefused },
  public_key: { edit: to(Buffer.alloc(0)), answers: versionRefused },
  blob: { edit: bit, answers: versionRefused },
  origin: { edit: to('hpke-x-wing'), answers: versionRefused },
  expires_at: { edit: to(1), answers: versionRefused },
  created_at: { edit: next, answers: versionRefused },
  revision: { edit: next, answers: versionRefused },
  mac: { edit: bit, answers: versionRefused },
};

export const usageColumns: Record<string, Edited> = {
  // Without its count a version encrypts nothing; what it sealed still opens.
  version_id: { edit: other, answers: '200 200 500 200 500' },
  namespace_id: { edit: other, answers: '200 200 500 200 500' },
  reserved: { edit: to(0), answers: '200 200 500 200 500' },
  revision: { edit: next, answers: '200 200 500 200 500' },
  mac: { edit: bit, answers: '200 200 500 200 500' },
  // Informational: not authenticated.
  last_used_at: { edit: to(1), answers: '200 200 200 200 200' },
};

/** Answers to an edited token: 401 where the row is no longer found, 500 where it is not authentic. */
export const tokenColumns: Record<string, { edit: Edit; status: number }> = {
  id: { edit: other, status: 401 },
  namespace_id: { edit: other, status: 500 },
  name: { edit: to('somebody-else'), status: 500 },
  secret_hash: { edit: bit, status: 500 },
  scopes: { edit: to('["service:admin","keys:admin","keys:encrypt","keys:decrypt"]'), status: 500 },
  key_patterns: { edit: to(null), status: 500 },
  created_at: { edit: next, status: 500 },
  expires_at: { edit: to(null), status: 500 },
  revoked_at: { edit: to(null), status: 500 },
  revision: { edit: next, status: 500 },
  mac: { edit: bit, status: 500 },
};

/** The KEK of a namespace: create a key, encrypt, decrypt. */
export const kekRefused = '500 500 500';
export const kekColumns: Record<string, Edited> = {
  id: { edit: other, answers: kekRefused },
  // Versions name their KEK by id, and it is proved whole.
  namespace_id: { edit: other, answers: kekRefused },
  purpose: { edit: to('audit'), answers: kekRefused },
  generation: { edit: next, answers: kekRefused },
  state: { edit: to('retired'), answers: kekRefused },
  created_at: { edit: next, answers: kekRefused },
  revision: { edit: next, answers: kekRefused },
  mac: { edit: bit, answers: kekRefused },
};

export const wrappingColumns: Record<string, Edited> = {
  system_key_id: { edit: other, answers: '503 503 503' },
  // The token cannot know that it was enrolled: it says so, and nothing is opened.
  root_id: { edit: other, answers: '503 503 503' },
  namespace_id: { edit: other, answers: kekRefused },
  blob: { edit: bit, answers: kekRefused },
  mac: { edit: bit, answers: kekRefused },
};
