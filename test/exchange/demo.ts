// Shows a file that goes from one party to another through the service, closed to a later quantum computer: sealed to
// X-Wing, signed by ML-DSA-65 and Ed25519, over TLS by X25519MLKEM768; and a key that comes in the same way.
// Run: npm run demo:exchange. It needs openssl, leaves nothing behind, and ends with 1 unless every check holds.
import { runDemo } from '../support/demo.ts';
import { show } from './show/show.ts';

await runDemo(show);
