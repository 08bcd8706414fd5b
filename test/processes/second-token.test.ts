import { existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, onTestFinished, test, vi } from 'vitest';
import { makeKey, makeNamespace, plaintext, recordsOnDisk, seal } from '../access/support.ts';
import { freshDataDir, removeDirectory, runMain } from '../support/data.ts';
import { type Answer, startTestService, type TestService } from '../support/service.ts';

const soon = { timeout: 120_000, interval: 100 };
/** Each on a connection of its own, so that every process has its turn. */
const alone = { connection: 'close' };

/** Clients that encrypt and decrypt, whatever they are told. */
function load(service: TestService, ciphertext: string) {
  const answers: { id: string; begun: number; answer: Answer }[] = [];
  let [going, count] = [true, 0];
  const clients = [0, 1].map(async () => {
    while (going) {
      count += 1;
      const id = `load-${count}`;
      const [path, body] =
        count % 2 === 0 ? ['/v1/decrypt', { ciphertext }] : ['/v1/keys/key/encrypt', { plaintext }];
      const begun = performance.now();
      const answer = await service.call('POST', path, body, { headers: { ...alone, 'x-request-id': id } });
      answers.push({ id, begun, answer });
      await delay(10);
    }
  });
  const stop = async () => {
    going = false;
    await Promise.all(clients);
  };
  onTestFinished(() => stop().catch(() => undefined));
  return { answers, stop };
}

/**
 * Guarantees that the loss of one of a node's two tokens is over for all clients as soon as other processes took over,
 * by themselves, whichever it is; that the other goes on meanwhile; that a token which came back serves again; and
 * that keys of namespaces made while a token was away open with it.
 */
test('a node with two tokens loses each in turn', { timeout: 400_000 }, async () => {
  const dataDir = await freshDataDir();
  onTestFinished(() => removeDirectory(dataDir));
  const env = { STATHERA_DATA_DIR: dataDir, STATHERA_PKCS11_SECOND_TOKEN_LABEL: 'second' };
  const doctor = () => runMain(['doctor'], env, { allowFailure: true });
  expect((await doctor()).stdout).toMatch(/FAILED +second token: /);
  const enrolled = await runMain(['hsm', 'enrol', 'second'], env);
  expect(enrolled.stdout).toMatch(/the second token \(second, root [0-9a-f-]{36}\) is enrolled: it took \d+/);
  expect((await doctor()).stdout).toMatch(/ok +second token: second /);
  const service = await startTestService({ dataDir, env: { ...env, STATHERA_PROCESSES: '2' } });
  onTestFinished(() => service.kill());
  const log = () =>
    service
      .stderr()
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>);
  /** By each process, in the order of their starts. */
  const tokens = () => log().flatMap(({ msg, tokenLabel }) => (msg === 'hsm.token' ? [tokenLabel] : []));
  const listening = () => log().filter(({ msg }) => msg === 'process.listening').length;
  await vi.waitFor(() => expect(listening()).toBe(2), soon);
  expect(tokens()).toEqual(['stathera', 'second']);
  await makeKey(service, 'key');
  const ciphertext = await seal(service, 'key');
  const { answers, stop } = load(service, ciphertext);
  const place = (folder: string) => join(dataDir, folder, 'tokens');
  const [first, second] = [place('hsm'), place('hsm-second')];
  expect([first, second].map(existsSync)).toEqual([true, true]);
  /** Ten answers of each process, all of them good. */
  const allServe = () =>
    vi.waitFor(async () => {
      const from = performance.now();
      await delay(500);
      const seen = answers.filter(({ begun }) => begun > from);
      expect(seen.length).toBeGreaterThan(6);
      expect(seen.filter(({ answer }) => answer.status !== 200)).toEqual([]);
    }, soon);

  renameSync(second, `${second}.gone`);
  await vi.waitFor(() => expect(tokens()).toEqual(['stathera', 'second', 'stathera']), soon);
  await allServe();
  const { token } = await makeNamespace(service, ['keys:admin', 'keys:encrypt', 'keys:decrypt']);
  await makeKey(service, 'theirs', token.secret);
  const theirs = await seal(service, 'theirs', { token: token.secret });

  renameSync(`${second}.gone`, second);
  renameSync(first, `${first}.gone`);
  await vi.waitFor(() => expect(tokens().slice(3)).toEqual(['second', 'second']), soon);
  await allServe();
  for (let count = 0; count < 4; count += 1) {
    const opened = await service.call(
      'POST',
      '/v1/decrypt',
      { ciphertext: theirs },
      { token: token.secret, headers: alone },
    );
    expect(opened.body, opened.text).toMatchObject({ plaintext });
  }
  renameSync(`${first}.gone`, first);
  await stop();

  const failed = answers.filter(({ answer }) => answer.status !== 200);
  for (const { answer } of failed)
    expect(answer.body, answer.text).toMatchObject({ status: 503, code: 'hsm/unavailable' });
  const records = new Set((await recordsOnDisk(dataDir)).map(({ requestId }) => requestId));
  expect(answers.filter(({ id, answer }) => answer.status === 200 && !records.has(id))).toEqual([]);
  const page = await service.call('GET', '/metrics');
  expect(page.text).toMatch(/^stathera_process_restarts_total\{reason="asked"\} 3$/m);
  expect(await service.stop()).toBe(0);
  expect((await runMain(['audit', 'verify', '--with-token'], env)).stdout).toMatch(/^ok$/m);
});
