/** Numbers that contributors encrypt, to be added up without being decrypted. */
export interface DatasetRow {
  id: string;
  namespace_id: string;
  name: string;
  description: string;
  /** JSON: columns and groups. With the parameters it gives the layout of every contribution. */
  definition: string;
  /** JSON: who, how many, and what may be asked. Neither of the two ever changes. */
  policy: string;
  /** Name of the set of encryption parameters. */
  parameters: string;
  /** Of the epoch that takes contributions. */
  current_epoch: number;
  /** Ed25519, 32 bytes: what contributors verify an epoch's manifest with. */
  verification_key: Uint8Array;
  kek_id: string;
  /** The seed of the signing key, as of a key version that is `hsm-sealed`. */
  signing_blob: Uint8Array;
  created_at: number;
  revision: number;
  mac: Uint8Array;
}

export type EpochState = 'open' | 'closed' | 'shredded';

/** A pair of encryption keys, and what was contributed under it. */
export interface DatasetEpochRow {
  id: string;
  namespace_id: string;
  dataset_id: string;
  /** From 1, without gaps. */
  ordinal: number;
  state: EpochState;
  kek_id: string;
  /** The epoch's sealing key, wrapped, and the seed that it seals; null when shredded. */
  sealing_blob: Uint8Array | null;
  /** SHA-256 of both rows' bytes in `dataset_epoch_keys`, which have no MAC of their own. */
  public_key_hash: Uint8Array;
  secret_key_hash: Uint8Array;
  /** What contributors verify: JWS in compact serialization. */
  manifest: string;
  opened_at: number;
  closed_at: number | null;
  /** From then on it is to be shredded; null: never by itself. */
  retained_until: number | null;
  revision: number;
  mac: Uint8Array;
  /** How many it has: what keeps them below their limit. Not covered by the MAC: answers count rows that are. */
  contributions: number;
}

/** An epoch's keys, too long for the row. */
export interface DatasetEpochKeyRow {
  epoch_id: string;
  namespace_id: string;
  /** As SEAL writes it. */
  public_key: Uint8Array;
  /** As SEAL writes it, encrypted under the epoch's seed; null when shredded. */
  secret_key: Uint8Array | null;
}

/** One upload. */
export interface ContributionRow {
  id: string;
  namespace_id: string;
  dataset_id: string;
  epoch_id: string;
  /** Principal. */
  contributor_id: string;
  /** From 1: which of the contributor's in the epoch. */
  ordinal: number;
  /** SHA-256 of each ciphertext's residues, one behind the other: what `contribution_ciphertexts` is held to. */
  ciphertext_digests: Uint8Array;
  created_at: number;
  revision: number;
  mac: Uint8Array;
}

/** One ciphertext of an upload. */
export interface ContributionCiphertextRow {
  epoch_id: string;
  /** From 0: its place in the layout. */
  place: number;
  contribution_id: string;
  namespace_id: string;
  /** SHA-256 of the residues: no two of an epoch have the same. */
  digest: Uint8Array;
  /** Without SEAL's header, which is the same for all. */
  residues: Uint8Array;
}
