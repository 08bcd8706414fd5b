// Provisions as production does, and dies by SIGKILL right after one durable step: a set-up killed half-way.
import { provisionHere } from '../../src/hsm/pkcs11/provision.ts';
import type { TokenSettings } from '../../src/hsm/pkcs11/token.ts';

process.once('message', ({ settings, step }: { settings: TokenSettings; step: string }) => {
  provisionHere(settings, (done) => {
    if (done === step) process.kill(process.pid, 'SIGKILL');
  });
  process.disconnect();
});
