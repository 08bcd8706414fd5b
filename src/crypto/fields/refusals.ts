/** Why a document is refused. What it holds is never quoted. */
export const refusalTexts = {
  'sealed already': 'is a sealed value already',
  'member exists': 'has a member beside it that the schema writes there',
  'no object': 'lies in an array or is reached by a wildcard, where nothing can stand beside it',
  'no text': 'must be a string for this treatment',
  'no scalar': 'must be a string, a number, true or false for an index',
  'foreign symbol': 'holds a symbol that is neither of the alphabet nor a separator',
  'too few symbols': 'has fewer than 1,000,000 combinations of the symbols that are not kept',
  'too many symbols': 'has more symbols than this treatment takes',
  'check digit': 'has a check digit that does not fit (Luhn)',
  'no e-mail': 'is no e-mail address that the index can normalize',
  'no telephone number': 'is no telephone number with its country code (E.164)',
  'no digits': 'holds no digits',
  'too long': 'is longer than this treatment takes',
  'too many places': 'is in more places of the document than are taken',
  'not sealed': 'is not what was sealed for this place',
} as const;

export type RefusalReason = keyof typeof refusalTexts;

/** One document is refused, for its first value that cannot be taken. */
export class FieldRefused extends Error {
  readonly reason: RefusalReason;
  /** Name of the field in the schema, where it is known. */
  field: string | undefined;

  constructor(reason: RefusalReason, field?: string) {
    super(refusalTexts[reason]);
    this.name = 'FieldRefused';
    this.reason = reason;
    this.field = field;
  }
}
