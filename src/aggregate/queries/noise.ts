import { createHmac } from 'node:crypto';
import { concatBytes, utf8, wipe } from '../../core/bytes.ts';
import { hkdf } from '../../crypto/kdf.ts';
import { labels } from '../../crypto/labels.ts';
import { createNoiseStream } from '../../crypto/privacy/noise-stream.ts';
import { discreteGaussian, discreteLaplace } from '../../crypto/privacy/samplers.ts';
import { createUniform, type Uniform } from '../../crypto/privacy/uniform.ts';
import type { OpenedOrder } from './order.ts';
import type { Part, Plan } from './plan.ts';

/**
 * 32 bytes, for the caller to wipe. The noise is drawn by the epochs' seeds and the order: whoever asks the same of the same rows once more, after a crash
 * too, is given the same noise, and nobody can average it away; of other rows, or of another query, it is another.
 */
export function noiseSeedOf(
  { digest }: Pick<OpenedOrder, 'digest'>,
  epochSeeds: readonly Uint8Array[],
): Uint8Array {
  const secret = concatBytes(...epochSeeds);
  const info = utf8(labels.datasetNoise);
  const key = hkdf('sha256', { secret, salt: new Uint8Array(0), info, bytes: 32 });
  try {
    return createHmac('sha256', key).update(digest).digest();
  } finally {
    wipe(secret, key);
  }
}

/** By output, for each part. */
export function noiseOf({ outputs, parts }: Pick<Plan, 'outputs' | 'parts'>, seed: Uint8Array): bigint[][] {
  const stream = createNoiseStream(seed);
  const uniform = createUniform(stream.fill);
  try {
    return outputs.map(() => parts.map(({ noise }) => draw(uniform, noise)));
  } finally {
    stream.end();
  }
}

function draw(uniform: Uniform, noise: Part['noise']): bigint {
  if (noise.kind === 'none') return 0n;
  return noise.kind === 'laplace'
    ? discreteLaplace(uniform, noise.scale)
    : discreteGaussian(uniform, noise.variance);
}
