import { stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { Adapters } from '../adapters.ts';
import { type Config, readConfig } from '../config.ts';
import { ServiceError } from '../core/errors.ts';
import { bootstrapTokenFile } from '../initialize.ts';
import { schemaNumber } from '../store/migrations.ts';
import { print } from './output.ts';
import type { Surroundings } from './surroundings.ts';

interface Finding {
  readonly check: string;
  readonly state: 'ok' | 'warning' | 'failed';
  readonly text: string;
}

const lowDiskBytes = 512 * 1024 * 1024;

export function addDoctorCommand(program: Command, { environment, adapters, exit }: Surroundings): void {
  program
    .command('doctor')
    .description('check settings, files, token, database and disk of this machine; changes nothing')
    .action(async (_options, command: Command) => {
      const config = readConfig(environment);
      const findings = [
        ...(await checkFiles(config)),
        ...(await checkToken(config, adapters)),
        await checkDatabase(config, adapters),
        await checkDisk(config),
        checkListener(config),
      ];
      print(command, { findings }, () =>
        findings.map(({ check, state, text }) => `${mark(state)} ${check}: ${text}`),
      );
      exit(findings.some(({ state }) => state === 'failed') ? 1 : 0);
    });
}

function mark(state: Finding['state']): string {
  return { ok: 'ok     ', warning: 'WARNING', failed: 'FAILED ' }[state];
}

async function checkFiles(config: Config): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const [check, path] of [
    ['data directory', config.dataDir],
    ['PIN file', config.hsm.pinFile],
  ] as const) {
    const found = await stat(path).catch(() => undefined);
    if (!found)
      findings.push({ check, state: 'failed', text: `${path} is not there: run \`stathera init\`` });
    else if ((found.mode & 0o077) !== 0) {
      findings.push({
        check,
        state: 'warning',
        text: `others may read ${path}: take the rights away with chmod go=`,
      });
    } else findings.push({ check, state: 'ok', text: path });
  }
  const bootstrap = bootstrapTokenFile(config);
  if (await stat(bootstrap).catch(() => undefined)) {
    findings.push({
      check: 'bootstrap token',
      state: 'warning',
      text: `${bootstrap} holds every right: make tokens for people and services, revoke it and delete the file`,
    });
  }
  return findings;
}

async function checkToken(config: Config, adapters: Adapters): Promise<Finding[]> {
  try {
    // A PIN the token refused before is not tried again for this.
    const report = await adapters.describeToken(config.hsm);
    const missing = report.mechanisms.filter(({ present }) => !present).map(({ name }) => name);
    const { token } = report;
    return [
      {
        check: 'token',
        state: token.pinLocked ? 'failed' : token.pinTriesLow ? 'warning' : 'ok',
        text: `${token.label} (${token.manufacturer} ${token.model}), root ${report.root.id}`,
      },
      {
        check: 'mechanisms',
        state: missing.length === 0 ? 'ok' : 'failed',
        text: missing.length === 0 ? 'all there' : `missing: ${missing.join(', ')}`,
      },
    ];
  } catch (error) {
    return [{ check: 'token', state: 'failed', text: detailOf(error) }];
  }
}

async function checkDatabase(config: Config, adapters: Adapters): Promise<Finding> {
  const check = 'database';
  try {
    const store = adapters.openStore({ file: config.databaseFile, readonly: true });
    try {
      return {
        check,
        state: 'ok',
        text: `${config.databaseFile}, migration ${await schemaNumber(store.db)}`,
      };
    } finally {
      await store.close();
    }
  } catch (error) {
    return { check, state: 'failed', text: `${config.databaseFile}: ${detailOf(error)}` };
  }
}

async function checkDisk(config: Config): Promise<Finding> {
  const check = 'disk';
  const room = await statfs(join(config.dataDir)).catch(() => undefined);
  if (!room) return { check, state: 'failed', text: 'the data directory cannot be read' };
  const free = room.bavail * room.bsize;
  const text = `${Math.round(free / 1024 / 1024)} MiB free`;
  return free < lowDiskBytes
    ? { check, state: 'warning', text: `${text}: without room the audit log refuses every operation` }
    : { check, state: 'ok', text };
}

function checkListener({ listen, tls, allowCleartext }: Config): Finding {
  const check = 'listener';
  const place = `${listen.host}:${listen.port}`;
  if (tls) return { check, state: 'ok', text: `${place}, TLS 1.3` };
  const isLoopback = /^(?:127\.|::1$|localhost$)/.test(listen.host);
  if (!isLoopback && !allowCleartext) {
    return {
      check,
      state: 'failed',
      text: `${place} is not loopback and has no TLS: serve refuses it; set STATHERA_TLS_CERT_FILE and STATHERA_TLS_KEY_FILE`,
    };
  }
  return !isLoopback
    ? { check, state: 'warning', text: `${place} in clear: tokens and plaintexts can be read on the way` }
    : { check, state: 'ok', text: `${place}, in clear, loopback only` };
}

function detailOf(error: unknown): string {
  return error instanceof ServiceError ? error.detail : 'cannot be read';
}
