import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { deriveMessageKey } from '../../src/crypto/payload/derive.ts';
import { nodeCiphers } from '../../src/crypto/payload/node-ciphers.ts';
import type { CipherAlgorithm as Algorithm } from '../../src/crypto/suites.ts';
import { makeKey, member } from '../access/support.ts';
import type { Planted } from '../service/traces.ts';
import { freshDataDir, removeDirectory } from '../support/data.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { inProcess, keysInUse } from './planted-keys.ts';
import { residuesIn } from './process-memory.ts';

const keyName = 'positive-control-key';
let dataDir: string;
let service: TestService;
const planted: Planted[] = [];

function plant(name: string, bytes: Buffer): Buffer {
  planted.push({ name, bytes });
  return bytes;
}

const encrypting = `/v1/keys/${keyName}/encrypt`;
const sizes = [16, 32, 48, 1_000, 4_096];

beforeAll(async () => {
  dataDir = await freshDataDir();
  // What is to be decrypted was encrypted by another process: this one sees it only once.
  const before = await startTestService({ dataDir });
  await makeKey(before, keyName);
  const sealed: string[] = [];
  for (const size of sizes) {
    const plaintext = plant(`decrypted ${size}`, randomBytes(size)).toString('base64');
    sealed.push(member(await before.call('POST', encrypting, { plaintext }), 'ciphertext') ?? '');
  }
  const ofKeys = new Map<Algorithm, Buffer>();
  for (const algorithm of inProcess) {
    await before.call('POST', '/v1/keys', { name: algorithm, algorithm });
    const answer = await before.call('POST', `/v1/keys/${algorithm}/encrypt`, { plaintext: 'aGVsbG8=' });
    ofKeys.set(algorithm, Buffer.from(member(answer, 'ciphertext') ?? '', 'base64'));
  }
  const large = await sealLarge(before);
  await before.stop();
  planted.push(...(await keysInUse(dataDir, ofKeys)));
  service = await startTestService({ dataDir });
  for (const ciphertext of [...sealed, large]) await service.call('POST', '/v1/decrypt', { ciphertext });
  await useKeys(ofKeys);
  await makeSecrets();
  await sealToPairs();
  await sendInPieces();
  plant('PIN', Buffer.from((await readFile(join(dataDir, 'hsm', 'pin'), 'utf8')).trim()));
});
afterAll(async () => {
  await service?.kill();
  await removeDirectory(dataDir);
});

/** A payload under a data key, which is planted with what is derived from it; only `before` ever gave it out. */
async function sealLarge(before: TestService): Promise<string> {
  const plaintext = randomBytes(5_000).toString('base64');
  const ciphertext = member(await before.call('POST', encrypting, { plaintext }), 'ciphertext') ?? '';
  const wrapped = Buffer.from(ciphertext, 'base64').subarray(6, 150);
  const opened = await before.call('POST', '/v1/decrypt', { ciphertext: wrapped.toString('base64') });
  const dataKey = plant('data key of a payload', Buffer.from(member(opened, 'plaintext') ?? '', 'base64'));
  const secret = await nodeCiphers.importSecret(dataKey);
  const recording = {
    ...nodeCiphers,
    importKey: (bytes: Uint8Array) => {
      plant('key derived from it', Buffer.from(bytes));
      return nodeCiphers.importKey(bytes);
    },
  };
  await deriveMessageKey(recording, secret, { id: wrapped.subarray(36, 52) });
  return ciphertext;
}

/** Every operation that has a secret, with secrets that lie in V8's heap if nobody sees to it, and larger ones. */
async function makeSecrets(): Promise<void> {
  for (const size of sizes) {
    const plaintext = plant(`encrypted ${size}`, randomBytes(size)).toString('base64');
    await service.call('POST', encrypting, { plaintext });
  }
  for (const bytes of [16, 32, 64]) {
    const made = await service.call('POST', `/v1/keys/${keyName}/data-keys`, { plaintext: true, bytes });
    const [item] = made.body['items'] as { plaintext: string; wrapped: string }[];
    plant(`data key ${bytes}`, Buffer.from(item?.plaintext ?? '', 'base64'));
  }
  const random = await service.call('POST', '/v1/random', { bytes: 32 });
  plant('random', Buffer.from(member(random, 'bytes') ?? '', 'base64'));
  const operations = [
    {
      operation: 'encrypt',
      key: keyName,
      plaintext: plant('encrypted in a batch', randomBytes(48)).toString('base64'),
    },
    { operation: 'data-keys', key: keyName, plaintext: true },
  ];
  const batch = await service.call('POST', '/v1/batch', { operations });
  const results = batch.body['results'] as { items?: { plaintext: string }[] }[];
  plant('data key of a batch', Buffer.from(results[1]?.items?.[0]?.plaintext ?? '', 'base64'));
}

/** A message that is sealed to a key pair and opened again, with a pre-shared key, and a secret that is exported. */
async function sealToPairs(): Promise<void> {
  for (const algorithm of ['x-wing', 'p256']) {
    await service.call('POST', '/v1/keys', { name: `pair-${algorithm}`, algorithm });
    const at = (operation: string) => `/v1/keys/pair-${algorithm}/${operation}`;
    const pskId = 'aGVsbG8=';
    const plaintext = plant(`sealed to ${algorithm}`, randomBytes(48)).toString('base64');
    const psk = plant(`pre-shared key of ${algorithm}`, randomBytes(32)).toString('base64');
    const made = await service.call('POST', at('seal'), { plaintext, psk, pskId });
    const opening = { enc: made.body['enc'], ciphertext: made.body['ciphertext'], pskId };
    expect((await service.call('POST', at('open'), { ...opening, psk })).status).toBe(200);
    // Not with the planted one: three requests would hold as many texts of it.
    const another = { ...opening, psk: randomBytes(32).toString('base64') };
    expect((await service.call('POST', at('open'), another)).status).toBe(400);
    const sent = await service.call('POST', at('send-export'), {});
    plant(`exported by ${algorithm}`, Buffer.from(member(sent, 'exported') ?? '', 'base64'));
    await service.call('POST', at('receive-export'), { enc: sent.body['enc'] });
  }
}

/** Opens, refuses and seals under keys that come into the service's memory, and moves a message between two of them. */
async function useKeys(ofKeys: ReadonlyMap<Algorithm, Buffer>): Promise<void> {
  for (const [algorithm, sealed] of ofKeys) {
    const forged = Buffer.from(sealed).fill(0, sealed.length - 16);
    for (const [each, status] of [
      [sealed, 200],
      [forged, 400],
    ] as const) {
      const ciphertext = each.toString('base64');
      expect((await service.call('POST', '/v1/decrypt', { ciphertext })).status).toBe(status);
    }
    const plaintext = plant(`encrypted by ${algorithm}`, randomBytes(48)).toString('base64');
    const answer = await service.call('POST', `/v1/keys/${algorithm}/encrypt`, { plaintext });
    const body = { ciphertext: member(answer, 'ciphertext'), toKey: keyName };
    expect((await service.call('POST', `/v1/keys/${algorithm}/rewrap`, body)).status).toBe(200);
  }
}

/** A body that comes in two pieces, and one that ends before its end. */
async function sendInPieces(): Promise<void> {
  for (const whole of [true, false]) {
    const name = whole ? 'in pieces' : 'cut short';
    const parts = ['first', 'second'].map((part) => plant(`${part} part ${name}`, randomBytes(600)));
    const body = JSON.stringify({ plaintext: Buffer.concat(parts).toString('base64') });
    const head = `POST ${encrypting} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${service.token}\r\n`;
    const fields = `Content-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n`;
    const socket = connect(Number(new URL(service.url).port), '127.0.0.1');
    const closed = new Promise((resolve) => socket.on('close', resolve));
    let answer = '';
    socket.on('data', (chunk) => (answer += chunk.toString())).setNoDelay(true);
    socket.write(`${head}${fields}\r\n`);
    for (const piece of [body.slice(0, 816), body.slice(816, whole ? undefined : -1)]) {
      await delay(30);
      socket.write(piece);
    }
    await delay(30);
    if (!whole) socket.destroy();
    await closed;
    expect(answer.slice(9, 12)).toBe(whole ? '200' : '');
  }
}

/** Where a process may not read another's memory, its search cannot be tried; in CI it must be. */
async function skipUnlessReadable(
  pid: number,
  skip: (condition: boolean, note: string) => void,
): Promise<void> {
  try {
    await residuesIn(pid, [{ name: 'nothing', bytes: randomBytes(16) }]);
  } catch (error) {
    if (process.env['CI'] !== undefined) throw error;
    skip(true, `reading another process's memory: ${(error as NodeJS.ErrnoException).code}`);
  }
}

/** Guarantees that the search finds what is there in each form, and nothing that is not. */
test('the search finds what is there', async ({ skip }) => {
  const code = `
    const [raw, text, wide] = [0, 1, 2].map(() => require('node:crypto').randomBytes(40));
    console.log(JSON.stringify([raw, text, wide].map((each) => each.toString('hex'))));
    globalThis.kept = [raw, text.toString('base64'), Buffer.from('ā' + wide.toString('base64')).toString()];
    for (const each of [text, wide]) each.fill(0);
    setInterval(() => {}, 1_000);`;
  const child = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    const [line] = await once(child.stdout, 'data');
    const [raw, text, wide] = JSON.parse(String(line)) as [string, string, string];
    await skipUnlessReadable(child.pid ?? 0, skip);
    const absent = { name: 'absent', bytes: randomBytes(40) };
    const held = Object.entries({ raw, text, wide }).map(([name, hex]) => ({
      name,
      bytes: Buffer.from(hex, 'hex'),
    }));
    const found = await residuesIn(child.pid ?? 0, [...held, absent]);
    expect([...found.keys()]).toEqual(
      expect.arrayContaining([
        'raw raw',
        'text base64',
        'wide base64 wide',
        'raw hex',
        'text hex',
        'wide hex',
      ]),
    );
    expect([...found.keys()].filter((form) => /^absent|^(text|wide) raw/.test(form))).toEqual([]);
  } finally {
    child.kill('SIGKILL');
  }
});

/**
 * Guarantees that of what the service decrypted, encrypted or made only base64 texts remain, a few of each and until
 * other requests need their place; of the PIN nothing, nor of seeds and of the keys derived for messages.
 */
test('secrets do not remain in memory', { timeout: 600_000 }, async ({ skip }) => {
  await skipUnlessReadable(service.pid, skip);
  const controls = [
    { name: 'key name', bytes: Buffer.from(keyName) },
    { name: 'token', bytes: Buffer.from(service.token) },
  ];
  const atOnce = await residuesIn(service.pid, [...planted, ...controls]);
  expect([...atOnce.keys()]).toEqual(expect.arrayContaining(['key name raw', 'token raw']));
  const residues = async () => [...(await residuesIn(service.pid, planted))];
  const texts = [...atOnce].filter(([form]) => !/^(key name|token) /.test(form));
  const asText = / base64(url)?$/;
  const never = /^(PIN|seed|subkey|half) /;
  expect(texts.filter(([form]) => !asText.test(form) || never.test(form))).toEqual([]);
  // It would be a search that finds nothing otherwise.
  expect(texts.length).toBeGreaterThan(0);
  expect(texts.filter(([, count]) => count > 8)).toEqual([]);
  let answered = 0;
  let left = texts;
  for (; left.length > 0 && answered < 20_000; left = await residues()) {
    for (let round = 0; round < 25; round += 1) {
      const plaintext = randomBytes(48).toString('base64');
      await Promise.all(Array.from({ length: 20 }, () => service.call('POST', encrypting, { plaintext })));
      answered += 20;
    }
  }
  expect(left).toEqual([]);
  const copies = Math.max(...texts.map(([, count]) => count));
  process.stdout.write(
    `memory: at most ${copies} base64 texts of a secret, none after ${answered} requests\n`,
  );
});
