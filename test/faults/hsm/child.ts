/** Opens a token whose device hangs in a call, and ends: by itself, or by `process.exit` without closing. */
import { openFaultyToken } from './faulty-token.ts';

const token = await openFaultyToken({ hungAfterMs: 300, watchEveryMs: 20, finishWithinMs: 300 });
if (token === undefined) throw new Error('no C compiler');
token.faults.set('C_UnwrapKey', { kind: 'hang' });
await token.hsm.probe().catch(() => undefined);
process.stdout.write(`${token.hsm.status().state}\n`);
if (process.argv[2] === 'exit') process.exit(1);
await token.hsm.close(0);
process.stdout.write(`${token.hsm.status().state}\n`);
