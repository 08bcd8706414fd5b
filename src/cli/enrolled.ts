import type { Command } from 'commander';
import { readConfig } from '../config.ts';
import { listTokens, remove as removeToken } from '../enrolment.ts';
import { Failed } from './failed.ts';
import { print, table } from './output.ts';
import type { Surroundings } from './surroundings.ts';

export async function list(command: Command, { environment, adapters }: Surroundings): Promise<void> {
  const tokens = await listTokens(readConfig(environment), await adapters());
  print(command, { tokens }, () =>
    table([
      ['ROOT', 'LABEL', 'KEYS', 'MISSING'],
      ...tokens.map(({ id, label, wrapped, lacking }) => [id, label, String(wrapped), String(lacking)]),
    ]),
  );
}

export async function remove(
  root: string,
  { yes }: { yes?: true },
  command: Command,
  { environment, adapters: load }: Surroundings,
): Promise<void> {
  const config = readConfig(environment);
  const adapters = await load();
  const token = (await listTokens(config, adapters)).find(({ id }) => id === root);
  if (!token) throw new Failed(`no token with the root ${root} is enrolled: see \`stathera hsm list\``);
  if (yes) await removeToken(config, adapters, root);
  print(command, { rootId: root, label: token.label, removed: yes === true }, () => [
    yes
      ? `the token ${token.label}, root ${root}, was removed: its node does not start any more`
      : `the token ${token.label}, root ${root}, has ${token.wrapped} system keys; --yes removes it`,
  ]);
}
