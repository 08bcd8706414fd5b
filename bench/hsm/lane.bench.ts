// What: AES-256-GCM encryption through the HSM adapter's fast lane, 64 in flight, SoftHSM, one process.
// Leaves out: HTTP, authorization, audit, decryption, misses (the key is in the token), other load.
// Floor: the same module called synchronously through pkcs11js on the main thread, in the same run.
// Run: node bench/hsm/lane.bench.ts [plaintext bytes, default 32]
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Hsm, KeyRef } from '../../src/hsm/hsm.ts';
import { openPkcs11Hsm } from '../../src/hsm/pkcs11/adapter.ts';
import { loadModule, readOnlySession, slotsWithLabel } from '../../src/hsm/pkcs11/cryptoki.ts';
import { gcmMechanism } from '../../src/hsm/pkcs11/known-answers.ts';
import { knownKeyTemplate } from '../../src/hsm/pkcs11/objects.ts';
import { pkcs11Defaults } from '../../src/hsm/pkcs11/settings.ts';
import { provisionToken } from '../../src/hsm/pkcs11/token.ts';

const plaintextBytes = Number(process.argv[2] ?? 32);
const inFlight = 64;
const roundMs = 1_500;
const rounds = 3;
const modulePath = process.env['STATHERA_PKCS11_MODULE'] ?? '/usr/lib/softhsm/libsofthsm2.so';
const data = new Uint8Array(plaintextBytes).fill(7);
const aad = new Uint8Array(64).fill(1);
const nonce = new Uint8Array(12);

/** Operations a second of the module alone. */
function measureFloor(tokenLabel: string): number {
  const cryptoki = loadModule(modulePath);
  const [slot] = slotsWithLabel(cryptoki, tokenLabel);
  if (slot === undefined) throw new Error('no slot');
  const session = cryptoki.C_OpenSession(slot, readOnlySession);
  const key = cryptoki.C_CreateObject(session, knownKeyTemplate('aes', Buffer.alloc(32, 3), ['encrypt']));
  const [plaintext, output] = [Buffer.from(data), Buffer.alloc(plaintextBytes + 16)];
  const start = performance.now();
  let operations = 0;
  while (performance.now() - start < roundMs) {
    for (let index = 0; index < 64; index++) {
      cryptoki.C_EncryptInit(session, gcmMechanism(Buffer.from(nonce), Buffer.from(aad)), key);
      cryptoki.C_Encrypt(session, plaintext, output);
    }
    operations += 64;
  }
  const rate = (operations * 1_000) / (performance.now() - start);
  cryptoki.C_CloseSession(session);
  return rate;
}

/** Operations a second through the adapter, and CPU time of the main thread for each. */
async function measureLane(hsm: Hsm, key: KeyRef): Promise<{ rate: number; mainMicros: number }> {
  let operations = 0;
  const start = performance.now();
  const cpuBefore = process.threadCpuUsage();
  async function client(): Promise<void> {
    while (performance.now() - start < roundMs) {
      await hsm.encrypt(key, { nonce, aad, data });
      operations += 1;
    }
  }
  await Promise.all(Array.from({ length: inFlight }, client));
  const cpu = process.threadCpuUsage(cpuBefore);
  const rate = (operations * 1_000) / (performance.now() - start);
  return { rate, mainMicros: (cpu.user + cpu.system) / operations };
}

const folder = mkdtempSync(join(tmpdir(), 'stathera-bench-'));
try {
  const settings = {
    ...pkcs11Defaults,
    module: modulePath,
    tokenLabel: 'stathera-bench',
    pinFile: join(folder, 'hsm', 'pin'),
    softhsmConf: join(folder, 'hsm', 'softhsm2.conf'),
  };
  await provisionToken(settings);
  const hsm = await openPkcs11Hsm(settings);
  const key: KeyRef = {
    id: 'bench',
    kind: 'aes-256',
    blob: await hsm.generate('aes-256', 'root'),
    under: 'root',
  };
  await measureLane(hsm, key);
  const runs = [];
  for (let round = 0; round < rounds; round++) {
    const floor = measureFloor(settings.tokenLabel);
    runs.push({ floor, ...(await measureLane(hsm, key)) });
  }
  await hsm.close();
  const [median] = runs.toSorted((a, b) => a.rate / a.floor - b.rate / b.floor).slice(Math.floor(rounds / 2));
  if (median === undefined) throw new Error('no runs');
  const { rate, floor, mainMicros } = median;
  const ratio = rate / floor;
  process.stdout.write(
    `encrypt ${plaintextBytes} B, ${inFlight} in flight: ${Math.round(rate)}/s, floor ${Math.round(floor)}/s, ` +
      `ratio ${ratio.toFixed(2)}, main thread ${mainMicros.toFixed(1)} µs an operation\n`,
  );
  const result = { bench: 'hsm/lane', plaintextBytes, inFlight, rate, floor, ratio, mainMicros };
  process.stdout.write(`${JSON.stringify(result)}\n`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
