import pkcs11js from 'pkcs11js';

export type Usage = 'encrypt' | 'decrypt' | 'sign' | 'verify' | 'wrap' | 'unwrap' | 'derive';

const usageAttributes: Readonly<Record<Usage, number>> = {
  encrypt: pkcs11js.CKA_ENCRYPT,
  decrypt: pkcs11js.CKA_DECRYPT,
  sign: pkcs11js.CKA_SIGN,
  verify: pkcs11js.CKA_VERIFY,
  wrap: pkcs11js.CKA_WRAP,
  unwrap: pkcs11js.CKA_UNWRAP,
  derive: pkcs11js.CKA_DERIVE,
};

const all = Object.keys(usageAttributes) as Usage[];

/**
 * Every usage is stated: defaults differ between modules, and some are true.
 * @param known those that the object's class has; a secret key has all
 */
export function usages(allowed: readonly Usage[], known: readonly Usage[] = all): pkcs11js.Template {
  return known.map((usage) => ({ type: usageAttributes[usage], value: allowed.includes(usage) }));
}
