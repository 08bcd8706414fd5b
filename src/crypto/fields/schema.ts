import type { Normalizer } from './normalizers.ts';
import type { View } from './views.ts';

/** Which fields of a document are treated, and how: as it is written, stored and sent. */
export interface SchemaDefinition {
  /** The key of every field that names none: a name of one of the purpose `fields`. */
  readonly key: string;
  readonly fields: readonly FieldDefinition[];
  readonly indexes?: readonly IndexDefinition[] | undefined;
}

export type FieldDefinition = {
  /** What the field is called in indexes, queries and answers. */
  readonly name: string;
  /** @see ./paths.ts */
  readonly path: string;
  /** Who may not use it has the field left as it is. Default: the schema's. */
  readonly key?: string | undefined;
  /** What `reveal` shows. Default: the field stays as it is. */
  readonly reveal?: View | undefined;
} & Treatment;

export type Treatment =
  /** Sealed, each time otherwise. */
  | { readonly treatment: 'randomized' }
  /** Sealed, equal values alike: within the field, or within the join group of the same name and key. */
  | { readonly treatment: 'deterministic'; readonly joinGroup?: string | undefined }
  | FormatPreserving
  /** Stays as it is; it may have a view, and be part of an index. */
  | { readonly treatment: 'none' };

/** Encrypted to a text of the same format, equal values alike; not authenticated. */
export interface FormatPreserving {
  readonly treatment: 'format-preserving';
  /** One of ./format-preserving.ts by its name, or else `symbols`. */
  readonly alphabet?: string | undefined;
  readonly symbols?: string | undefined;
  readonly separators?: string | undefined;
  readonly keepPrefix?: number | undefined;
  readonly keepSuffix?: number | undefined;
  readonly luhn?: boolean | undefined;
  readonly joinGroup?: string | undefined;
  /** Where the version of the key stands, which the value has no room for: a member beside the field … */
  readonly versionMember?: string | undefined;
  /** … or here, for all of them. */
  readonly keyVersion?: number | undefined;
}

/** An HMAC over one field or several that are in one object, by which documents are found again. */
export interface IndexDefinition {
  readonly name: string;
  /** The member that holds it, in the object that the fields are in. */
  readonly member: string;
  readonly bits: number;
  readonly fields: readonly {
    readonly name: string;
    readonly normalize?: readonly Normalizer[] | undefined;
  }[];
  /** Rows that are to be searched: from it the answer has how many others a search finds. */
  readonly expectedRows?: number | undefined;
}
