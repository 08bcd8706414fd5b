import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { connect } from 'node:net';
import { expect, onTestFinished, test, vi } from 'vitest';
import {
  bootstrapToken,
  childEnvironment,
  freshDataDir,
  mainFile,
  removeDirectory,
  runMain,
} from '../support/data.ts';

/** Open files allowed to the service: it has about 40 itself. */
const fileLimit = 128;
const flood = 400;

/** The real service with few files to open. */
async function startWithFewFiles(dataDir: string) {
  const env = childEnvironment({ STATHERA_DATA_DIR: dataDir, STATHERA_LISTEN: '127.0.0.1:0' });
  const limited = ['-c', `ulimit -n ${fileLimit} && exec "$@"`, 'sh', process.execPath, mainFile, 'serve'];
  const child = spawn('sh', limited, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
  const port = await vi.waitFor(() => {
    const [, found] = /listening on http:\/\/127\.0\.0\.1:(\d+)$/m.exec(output) ?? [];
    expect(found).toBeDefined();
    return Number(found);
  }, 30_000);
  return { child, pid: child.pid ?? 0, port, output: () => output, token: await bootstrapToken(dataDir) };
}

type Limited = Awaited<ReturnType<typeof startWithFewFiles>>;

/** A client that keeps its one connection. */
function keptConnection({ port, token }: Limited) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  onTestFinished(() => agent.destroy());
  return (path: string, body: object): Promise<{ status: number; text: string }> =>
    new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
      const sent = request({ port, host: '127.0.0.1', method: 'POST', path, agent, headers }, (answer) => {
        let text = '';
        answer.on('data', (chunk) => (text += chunk));
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text }));
      });
      sent.on('error', reject).end(JSON.stringify(body));
    });
}

const openFiles = ({ pid }: Limited) => readdirSync(`/proc/${pid}/fd`).length;

/**
 * Guarantees that a flood of connections cannot take the files that the log, the database and the HSM need: who is
 * connected is served, changes included, the flood is turned away, and all is as before when it is over.
 */
test('a flood of connections and few files', { timeout: 60_000 }, async () => {
  const dataDir = await freshDataDir();
  onTestFinished(() => removeDirectory(dataDir));
  const service = await startWithFewFiles(dataDir);
  const call = keptConnection(service);
  expect((await call('/v1/keys', { name: 'key' })).status).toBe(201);
  const idle = openFiles(service);
  const sockets = Array.from({ length: flood }, () =>
    connect(service.port, '127.0.0.1').on('error', () => {}),
  );
  onTestFinished(() => sockets.forEach((socket) => void socket.destroy()));
  const refused = () => sockets.filter((socket) => socket.closed).length;
  await vi.waitFor(() => expect(refused()).toBeGreaterThan(flood - fileLimit), 20_000);
  for (let round = 0; round < 20; round += 1) {
    const key = `key-${round}`;
    expect((await call('/v1/keys', { name: key })).status).toBe(201);
    expect((await call(`/v1/keys/${key}/encrypt`, { plaintext: 'aGVsbG8=' })).status).toBe(200);
    expect(openFiles(service)).toBeLessThan(fileLimit - 32);
  }
  for (const socket of sockets) socket.destroy();
  await vi.waitFor(() => expect(openFiles(service)).toBeLessThanOrEqual(idle), 20_000);
  expect((await keptConnection(service)('/v1/random', { bytes: 16 })).status).toBe(200);
  expect(service.output()).toContain('raise the limit of open files');
  const closed = once(service.child, 'close');
  service.child.kill('SIGTERM');
  expect((await closed)[0]).toBe(0);
  const { code } = await runMain(['audit', 'verify', '--with-token'], { STATHERA_DATA_DIR: dataDir });
  expect(code).toBe(0);
});
