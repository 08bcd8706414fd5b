// What: AES-256-GCM encryption of 32 B and 1 KiB through the HSM adapter's fast lane, 64 in flight, SoftHSM, one
// process; then the same of 32 B while the slow lane makes keys without pause, two at a time.
// Leaves out: HTTP, authorization, audit, decryption, misses (the key is in the token; bench/growth has them), and
// signatures, which have a lane of their own (signatures.bench.ts).
// Floor: the same module called synchronously by one thread of a process with a token of its own, in the same
// run, rounds taking turns.
// Run: node bench/hsm/lane.bench.ts
import type { Hsm, KeyRef } from '../../src/hsm/hsm.ts';
import { makeKey, openTestToken } from '../../test/support/token.ts';
import { bench } from '../support/bench.ts';
import { startHsmFloor } from '../support/hsm-floor.ts';
import type { Figure, RateRow } from '../support/report.ts';
import { medianRound, rounds } from '../support/rounds.ts';

const inFlight = 64;
const roundMilliseconds = 700;
/** The length of the service's own, for a context of two short pairs. */
const aadBytes = 140;

interface Lane {
  readonly rate: number;
  /** CPU time of the main thread for one operation, the clients' own part included. */
  readonly mainMicros: number;
}

async function measureLane(hsm: Hsm, key: KeyRef, plaintextBytes: number): Promise<Lane> {
  const data = new Uint8Array(plaintextBytes).fill(7);
  const aad = new Uint8Array(aadBytes).fill(1);
  const nonce = new Uint8Array(12);
  let operations = 0;
  const start = performance.now();
  const cpuBefore = process.threadCpuUsage();
  async function client(): Promise<void> {
    while (performance.now() - start < roundMilliseconds) {
      await hsm.encrypt(key, { nonce, aad, data });
      operations += 1;
    }
  }
  await Promise.all(Array.from({ length: inFlight }, client));
  const cpu = process.threadCpuUsage(cpuBefore);
  const rate = (operations * 1_000) / (performance.now() - start);
  return { rate, mainMicros: (cpu.user + cpu.system) / operations };
}

/** Keeps the slow lane busy while `work` runs. */
async function besideSlow<T>(hsm: Hsm, kek: KeyRef, work: () => Promise<T>): Promise<T & { made: number }> {
  let busy = true;
  let made = 0;
  const start = performance.now();
  const clients = Array.from({ length: 2 }, async () => {
    for (; busy; made += 1) await hsm.generate('aes-256', kek);
  });
  const result = await work();
  const seconds = (performance.now() - start) / 1_000;
  busy = false;
  await Promise.all(clients);
  return { ...result, made: made / seconds };
}

await bench('hsm/lane', async (bench) => {
  const { hsm, close } = await openTestToken();
  const floor = await startHsmFloor(bench);
  const kek = await makeKey(hsm, 'kek');
  const key = await makeKey(hsm, 'aes-256', kek);
  await measureLane(hsm, key, 32);
  const rows: RateRow[] = [];
  for (const plaintextBytes of [32, 1024]) {
    bench.progress(`encrypt ${plaintextBytes} B`);
    const measured = await medianRound(async () => {
      const rates = await floor.measure({ plaintextBytes, aadBytes, milliseconds: roundMilliseconds });
      return { ...(await measureLane(hsm, key, plaintextBytes)), floor: rates.pkcs11 };
    });
    const what = `encrypt ${plaintextBytes} B, ${inFlight} in flight`;
    rows.push({ what, ...measured, targetRatio: 0.6, targetMainMicros: 6 });
  }
  bench.progress('encrypt 32 B while keys are made');
  const { made, ...beside } = await medianRound(async () => {
    const rates = await floor.measure({ plaintextBytes: 32, aadBytes, milliseconds: roundMilliseconds });
    return { ...(await besideSlow(hsm, kek, () => measureLane(hsm, key, 32))), floor: rates.pkcs11 };
  });
  rows.push({ what: 'encrypt 32 B while keys are made', ...beside });
  const figures: Figure[] = [{ what: 'keys made meanwhile', value: made, unit: '/s' }];
  await close();
  return { rows, figures, setting: { inFlight, aadBytes, rounds, roundMilliseconds } };
});
