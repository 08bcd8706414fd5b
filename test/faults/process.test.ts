import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, test, vi } from 'vitest';
import {
  bootstrapToken,
  childEnvironment,
  emptyDirectory,
  freshDataDir,
  mainFile,
  projectRoot,
  removeDirectory,
} from '../support/data.ts';
import { startTestService } from '../support/service.ts';

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

/** A child and what it wrote, killed after the test. */
function start(command: string, args: readonly string[], options: { cwd?: string; env: NodeJS.ProcessEnv }) {
  const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
  ends.push(() => child.kill('SIGKILL'));
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
  return { child, pid: child.pid ?? 0, output: () => output };
}

async function directory(made: Promise<string>): Promise<string> {
  const path = await made;
  ends.push(() => removeDirectory(path));
  return path;
}

/** Ports on which a process listens, by its open files. */
async function listeningPorts(pid: number): Promise<number[]> {
  const files = await readdir(`/proc/${pid}/fd`);
  const links = await Promise.all(files.map((file) => readlink(`/proc/${pid}/fd/${file}`).catch(() => '')));
  const own = new Set(links.map((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1]));
  const tables = await Promise.all(
    ['tcp', 'tcp6'].map((name) => readFile(`/proc/${pid}/net/${name}`, 'utf8')),
  );
  return tables
    .flatMap((table) => table.split('\n').map((line) => line.trim().split(/\s+/)))
    .filter((fields) => fields[3] === '0A' && own.has(fields[9]))
    .map((fields) => Number(`0x${fields[1]?.split(':')[1]}`));
}

/** Guarantees that SIGUSR1, with which node opens its inspector, opens none and disturbs nothing. */
test('no signal opens the inspector', { timeout: 60_000 }, async () => {
  const options = { NODE_OPTIONS: '--inspect-port=0' };
  const plain = start(process.execPath, ['-e', 'setInterval(() => {}, 1000); console.log("up")'], {
    env: childEnvironment(options),
  });
  await vi.waitFor(() => expect(plain.output()).toContain('up'), 20_000);
  const service = await startTestService({ env: options });
  ends.push(() => service.dispose());
  for (const pid of [plain.pid, service.pid]) process.kill(pid, 'SIGUSR1');
  await vi.waitFor(() => expect(plain.output()).toContain('Debugger listening'), 20_000);
  expect(await listeningPorts(plain.pid)).toHaveLength(1);
  for (let again = 0; again < 5; again += 1) {
    process.kill(service.pid, 'SIGUSR1');
    expect((await service.call('GET', '/v1/keys')).status).toBe(200);
    await delay(50);
  }
  expect(await listeningPorts(service.pid)).toEqual([Number(new URL(service.url).port)]);
  expect(service.stderr()).not.toMatch(/debugger|inspector/i);
});

/** Guarantees the same from the first moment on, in every way of starting that is described. */
test.each(['package.json', 'Dockerfile', 'docs/operate.md'])('%s starts without it', async (file) => {
  const text = await readFile(join(projectRoot, file), 'utf8');
  const starts = text
    .split('\n')
    .filter((line) => /(src\/main\.ts serve|dist\/main\.js("\]| serve))/.test(line));
  expect(starts.length).toBeGreaterThan(0);
  for (const line of starts) expect(line).toContain('--disable-sigusr1');
});

/** Files that a process left behind when it was told to dump its core. */
async function dumped(child: ChildProcess, cwd: string): Promise<Buffer[]> {
  const closed = once(child, 'close');
  child.kill('SIGABRT');
  await closed;
  expect(child.signalCode).toBe('SIGABRT');
  return await Promise.all((await readdir(cwd)).map((name) => readFile(join(cwd, name))));
}

const dumping = ['-c', 'ulimit -c unlimited && exec "$@"', 'sh', process.execPath];

/** Guarantees that a core dump of the service, should the system write one, holds nothing of its memory. */
test('core dumps hold no memory', { timeout: 60_000 }, async ({ skip }) => {
  skip(process.platform !== 'linux', 'core dumps are emptied on Linux');
  const dataDir = await directory(freshDataDir());
  const cwd = await directory(emptyDirectory());
  const env = childEnvironment({ STATHERA_DATA_DIR: dataDir, STATHERA_LISTEN: '127.0.0.1:0' });
  const service = start('sh', [...dumping, mainFile, 'serve'], { cwd, env });
  const url = await vi.waitFor(() => {
    const [, found] = /listening on (\S+)$/m.exec(service.output()) ?? [];
    expect(found).toBeDefined();
    return found ?? '';
  }, 30_000);
  expect(await readFile(`/proc/${service.pid}/coredump_filter`, 'utf8')).toBe('00000000\n');
  const token = await bootstrapToken(dataDir);
  const headers = { authorization: `Bearer ${token}` };
  expect((await fetch(`${url}/v1/keys`, { headers })).status).toBe(200);
  const pattern = await readFile('/proc/sys/kernel/core_pattern', 'utf8');
  skip(/^[|/@]/.test(pattern), 'the system sends core dumps elsewhere');
  const plainCwd = await directory(emptyDirectory());
  const code =
    'globalThis.kept = Buffer.from(process.env.KEPT + "!"); setInterval(() => {}, 1000); console.log("up")';
  const plain = start('sh', [...dumping, '-e', code], { cwd: plainCwd, env: { ...env, KEPT: token } });
  await vi.waitFor(() => expect(plain.output()).toContain('up'), 20_000);
  const control = await dumped(plain.child, plainCwd);
  skip(control.length === 0, 'the system writes no core dumps');
  expect(control.map((core) => core.includes(`${token}!`))).toEqual([true]);
  expect((await dumped(service.child, cwd)).map((core) => core.includes(token))).not.toContain(true);
});
