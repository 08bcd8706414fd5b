import type { z } from 'zod';

// What the schemas of the service make of the members of requests and answers. `.ci/client-types.js` writes the result
// out when the package is packed, so that none of this is in it.

/** Members that are bytes here and base64 on the wire, wherever the schema has a string. */
type ByteMember =
  | ('plaintext' | 'ciphertext' | 'wrapped' | 'bytes' | 'message' | 'mac' | 'wrappedKey' | 'checkValue')
  | ('oaepLabel' | 'digest' | 'mu' | 'context' | 'signature' | 'payload')
  | (
      | 'publicKey'
      | 'peerPublicKey'
      | 'sharedSecret'
      | 'confirmation'
      | 'expectedConfirmation'
      | 'derived'
      | 'info'
    )
  | ('enc' | 'aad' | 'psk' | 'pskId' | 'recipientPublicKey' | 'senderPublicKey')
  | ('exporterContext' | 'exported' | 'verificationKey');
/** Numbers that a path or a query spells out. */
type NumberMember = 'days' | 'limit' | 'version' | 'epoch' | 'ordinal';

type Swap<Value, To> = Value extends string ? To : Value;

/** What goes over the wire as a caller has it. */
type Clear<Wire, Bytes extends Uint8Array> = Wire extends readonly (infer Item)[]
  ? Clear<Item, Bytes>[]
  : Wire extends object
    ? {
        [Member in keyof Wire]: Member extends ByteMember
          ? Swap<Wire[Member], Bytes>
          : Member extends NumberMember
            ? Swap<Wire[Member], number>
            : Clear<Wire[Member], Bytes>;
      }
    : Wire;

export type Given<Schema extends z.ZodType> = Clear<z.input<Schema>, Uint8Array>;
export type Answered<Schema extends z.ZodType> = Clear<z.output<Schema>, Uint8Array<ArrayBuffer>>;
