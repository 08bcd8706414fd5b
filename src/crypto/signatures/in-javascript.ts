/**
 * What no call of node:crypto does: signing and verifying ML-DSA's mu, and verifying ECDSA over a digest. In JavaScript,
 * so slower, and no engine promises constant time. It takes a tenth of a second to load, so the thread that needs it does.
 */
async function load() {
  const [mlDsa, nist, koblitz] = await Promise.all([
    import('@noble/post-quantum/ml-dsa.js'),
    import('@noble/curves/nist.js'),
    import('@noble/curves/secp256k1.js'),
  ]);
  return { ...mlDsa, ...nist, ...koblitz };
}

type InJavaScript = Awaited<ReturnType<typeof load>>;
let loaded: InJavaScript | undefined;

/** Before the forms `mu` and `digest` are used. */
export async function loadInJavaScript(): Promise<void> {
  loaded ??= await load();
}

export function inJavaScript<Name extends keyof InJavaScript>(name: Name): InJavaScript[Name] {
  if (loaded === undefined) throw new Error('loadInJavaScript comes first');
  return loaded[name];
}
