/**
 * The child process in which the secret keys of epochs are open, and nothing else is done: it takes one order over its
 * channel and ciphertexts over its standard input, gives one answer and ends. It has no settings, writes nothing, and
 * says nothing of what goes wrong.
 */
import { once } from 'node:events';
import { residueBytes } from '../../crypto/homomorphic/parameters.ts';
import { openBgv } from '../../crypto/homomorphic/seal.ts';
import { confine } from './confinement.ts';
import { openOrder, type SignedOrder } from './order.ts';
import { type NextResidues, NotReleased, release, type SealedEpochKey } from './release.ts';

export interface DecryptorRequest {
  readonly order: SignedOrder;
  readonly keys: readonly SealedEpochKey[];
  /** One an epoch, as `writeContributions` makes them. */
  readonly contributions: readonly Uint8Array[];
}

/** By output, as the plan has them, a number for each part, in decimal. */
export type DecryptorAnswer = readonly (readonly string[])[];

/** Pieces of so many bytes out of a stream that is cut anywhere. */
function pieces(stream: AsyncIterable<Uint8Array>, bytes: number): NextResidues {
  const chunks = stream[Symbol.asyncIterator]();
  let rest: Uint8Array = new Uint8Array(0);
  return async () => {
    const piece = new Uint8Array(bytes);
    for (let filled = 0; filled < bytes; ) {
      if (rest.length === 0) {
        const chunk: IteratorResult<Uint8Array, unknown> = await chunks.next();
        if (chunk.done) throw new NotReleased();
        rest = chunk.value;
      }
      const part = rest.subarray(0, bytes - filled);
      piece.set(part, filled);
      filled += part.length;
      rest = rest.subarray(part.length);
    }
    return piece;
  };
}

async function answer({ order: signed, keys, contributions }: DecryptorRequest): Promise<DecryptorAnswer> {
  const order = openOrder(signed);
  if (order === undefined) throw new NotReleased();
  const { parameters } = order.dataset;
  const bgv = await openBgv(parameters);
  const next = pieces(process.stdin as AsyncIterable<Uint8Array>, residueBytes(parameters));
  const numbers = await release(order, keys, contributions, { bgv, next });
  return numbers.map((output) => output.map(String));
}

confine(process.argv[2] ?? '');
const messages: readonly DecryptorRequest[] = await once(process, 'message');
const request = messages[0];
if (request !== undefined) process.send?.(await answer(request), () => process.disconnect());
