import { statSync } from 'node:fs';
import type { Command } from 'commander';
import { readConfig } from '../../config.ts';
import { print } from '../output.ts';
import type { Surroundings } from '../surroundings.ts';
import { checkDatabase } from './database.ts';
import { checkDisks } from './disk.ts';
import { checkFiles } from './files.ts';
import type { Finding } from './finding.ts';
import { checkHandshake } from './handshake.ts';
import { checkListener, checkService } from './listener.ts';
import { checkClock, checkProcess } from './machine.ts';
import { checkSecondToken, checkToken } from './token.ts';

export async function doctor(
  command: Command,
  { environment, adapters: load, exit }: Surroundings,
): Promise<void> {
  const config = readConfig(environment);
  const adapters = await load();
  const owner = statSync(config.dataDir, { throwIfNoEntry: false })?.uid;
  const token = await checkToken(config, adapters, owner);
  const second = await checkSecondToken(config, adapters, owner);
  const findings = [
    ...checkProcess(config),
    ...checkFiles(config),
    ...token.findings,
    ...second.findings,
    ...(await checkDatabase(config, adapters, token.rootId, second.rootId)),
    ...(await checkDisks(config)),
    await checkClock(config, adapters),
    ...checkListener(config, adapters.clock),
    await checkService(config),
    ...(await checkHandshake(config)),
  ];
  print(command, { findings }, () => findings.flatMap(linesOf));
  exit(findings.some(({ state }) => state === 'failed') ? 1 : 0);
}

const marks: Readonly<Record<Finding['state'], string>> = {
  ok: 'ok       ',
  warning: 'WARNING  ',
  failed: 'FAILED   ',
  unchecked: 'unchecked',
};

function linesOf(finding: Finding): string[] {
  const line = `${marks[finding.state]} ${finding.check}: ${finding.text}`;
  return finding.state === 'ok' ? [line] : [line, `          next: ${finding.next}`];
}
