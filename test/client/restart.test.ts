import { expect, test } from 'vitest';
import { createClient } from '../../src/client/node/index.ts';
import { freshDataDir, removeDirectory } from '../support/data.ts';
import { startTestService } from '../support/service.ts';

const atOnce = 8;

/**
 * Guarantees that calls outlive the service: killed, or told to stop, and started again in the middle of them, it
 * answers them all, each with its own answer, and what was made while it went was made once.
 */
test.each(['kill', 'stop'] as const)(
  'calls go on when the service is started anew after a %s',
  async (how) => {
    const dataDir = await freshDataDir();
    let service = await startTestService({ dataDir });
    const { url, token } = service;
    const retries = { retries: 1_000, maxBackoffMs: 100 };
    const client = createClient({ url, credentials: token, timeoutMs: 60_000, retries });
    await client.createKey({ name: 'payments' });
    let restarted = false;
    const made: string[] = [];
    const work = async (worker: number) => {
      for (let turn = 0; turn < 5 || !restarted; turn++) {
        const plaintext = new TextEncoder().encode(`${worker} ${turn}`);
        const { ciphertext } = await client.encrypt({ key: 'payments', plaintext });
        expect((await client.decrypt({ ciphertext })).plaintext).toEqual(plaintext);
        const name = `made-${worker}-${turn}`;
        expect((await client.createKey({ name })).name).toBe(name);
        made.push(name);
      }
    };
    const working = Promise.all(Array.from({ length: atOnce }, (_, worker) => work(worker)));
    try {
      await service[how]();
      service = await startTestService({ dataDir, env: { STATHERA_LISTEN: url.replace('http://', '') } });
      restarted = true;
      await working;
      const names: string[] = [];
      for await (const { name } of client.listKeys.all()) if (name.startsWith('made-')) names.push(name);
      expect(names.toSorted()).toEqual(made.toSorted());
      expect(made.length).toBeGreaterThanOrEqual(atOnce * 5);
    } finally {
      await service.dispose();
      await removeDirectory(dataDir);
    }
  },
);
