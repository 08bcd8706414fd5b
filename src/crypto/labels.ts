/**
 * Every domain-separation label, one a purpose, each with its version. A label is part of what is
 * authenticated: changing one makes everything made under it unreadable, so a new meaning gets a new label.
 */
export const labels = {
  /** AAD of a payload encrypted by a key version inside the HSM. */
  envelopeDirect: 'stathera/envelope/direct/v1',
  /** MAC over one database row; the table's name follows. */
  row: 'stathera/row/v1',
  /** MAC over a group commit of the audit log. */
  auditGroup: 'stathera/audit/group/v1',
  /** MAC over a change's audit record while it waits in the database. */
  auditOutbox: 'stathera/audit/outbox/v1',
  /** One step of an audit writer's hash chain. */
  auditChain: 'stathera/audit/chain/v1',
  /** Key and commitment of the messages under a data key. */
  dataKeyMessage: 'stathera/data-key/message/v1',
  /** Key, commitment and nonces of one stream under a data key. */
  dataKeyStream: 'stathera/data-key/stream/v1',
  /** Info of HPKE, where a data key is sealed to a public key. */
  sealedDataKey: 'stathera/sealed/data-key/v1',
  /** Key, commitment and nonces of one stream whose data key is sealed to public keys. */
  sealedStream: 'stathera/sealed/stream/v1',
  /** AAD of a seed sealed by an internal key. */
  sealedSeed: 'stathera/seed/v1',
  /** Key and MACs by which the two sides of an encapsulation prove to each other that they have its secret. */
  exchangeConfirm: 'stathera/exchange/confirm/v1',
  /** AAD of the secret key of a dataset's epoch. */
  datasetSecretKey: 'stathera/dataset/secret-key/v1',
  /** Key of the noise of an epoch's answers. */
  datasetNoise: 'stathera/dataset/noise/v1',
  /** What is asked, and of which rows: an answer's noise is drawn by it. */
  datasetComputation: 'stathera/dataset/computation/v1',
  /** A key on its way into the service, sealed by HPKE. */
  importKey: 'stathera/import/v1',
  /** Keys derived from an ECDH agreement. */
  exchangeDerive: 'stathera/exchange/derive/v1',
  /** Fingerprint of what a token asks with for the system keys. */
  enrolmentRequest: 'stathera/enrolment/request/v1',
  /** Keys of one field, or one join group, by what is done with them; see crypto/fields. */
  fieldRandomized: 'stathera/field/randomized/v1',
  fieldDeterministic: 'stathera/field/deterministic/v1',
  fieldFormat: 'stathera/field/format/v1',
  fieldIndex: 'stathera/field/index/v1',
  fieldHash: 'stathera/field/hash/v1',
  /** AAD of a field's value. */
  fieldValue: 'stathera/field/value/v1',
  /** MAC by which a token knows whose system keys it was handed. */
  enrolmentConfirmation: 'stathera/enrolment/confirmation/v1',
  /** MAC over the record of a version's destruction. */
  destructionRecord: 'stathera/destruction/v1',
} as const;
