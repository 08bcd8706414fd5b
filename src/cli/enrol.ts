import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { readConfig } from '../config.ts';
import { writeDurably } from '../core/durable-file.ts';
import {
  accept as acceptEnrolment,
  approve as approveEnrolment,
  encodeRequest,
  enrolSecond,
  fingerprintOf,
  parseRequest,
  requestEnrolment,
  requestFileLimit,
  waitingKeys,
} from '../enrolment.ts';
import { Failed } from './failed.ts';
import { print } from './output.ts';
import type { Surroundings } from './surroundings.ts';

export async function request(
  { output }: { output?: string },
  command: Command,
  { environment, adapters }: Surroundings,
): Promise<void> {
  const config = readConfig(environment);
  const made = await requestEnrolment(config, await adapters());
  const file = output ?? join(config.dataDir, 'enrolment-request.json');
  writeDurably(file, encodeRequest(made));
  const fingerprint = fingerprintOf(made);
  print(command, { file, rootId: made.rootId, fingerprint }, () => [
    `the request of this token (${made.tokenLabel}, root ${made.rootId}) is in ${file}`,
    `fingerprint: ${fingerprint}`,
    'next, on a node that is enrolled: stathera hsm enrol approve FILE --fingerprint FINGERPRINT',
    'bring the fingerprint there by another way than the file',
  ]);
}

export async function approve(
  file: string,
  { fingerprint }: { fingerprint?: string },
  command: Command,
  { environment, adapters: load }: Surroundings,
): Promise<void> {
  const config = readConfig(environment);
  const asked = parseRequest(readRequest(file));
  if (asked === undefined) throw new Failed(`${file} is no request of \`stathera hsm enrol request\``);
  const found = fingerprintOf(asked);
  const token = `${asked.tokenLabel}, root ${asked.rootId}`;
  if (fingerprint === undefined) {
    const keys = await waitingKeys(config, await load(), asked.rootId);
    print(command, { rootId: asked.rootId, fingerprint: found, keys, approved: false }, () => [
      `the token ${token} would be handed ${keys} system keys, and with them could use every key there is`,
      `fingerprint: ${found}`,
      'nothing was done: compare it with what `request` printed there, then give it as --fingerprint',
    ]);
    return;
  }
  if (fingerprint.toLowerCase() !== found) {
    throw new Failed(
      `the fingerprint of ${file} is another one: it is not the request that was made there, or was altered`,
    );
  }
  const { handedOver, confirmation } = await approveEnrolment(config, await load(), asked);
  print(command, { rootId: asked.rootId, handedOver, confirmation, approved: true }, () => [
    `${handedOver} system keys were handed over to the token ${token}`,
    `confirmation: ${confirmation}`,
    'next, on its node: stathera hsm enrol accept --confirmation CONFIRMATION',
  ]);
}

export async function accept(
  { confirmation }: { confirmation: string },
  command: Command,
  { environment, adapters }: Surroundings,
): Promise<void> {
  const config = readConfig(environment);
  const { taken } = await acceptEnrolment(config, await adapters(), confirmation);
  print(command, { taken }, () => [
    taken === 0
      ? 'this token is enrolled: nothing to do'
      : `this token is enrolled: it took ${taken} system keys`,
    'next: stathera serve',
  ]);
}

export async function second(command: Command, { environment, adapters }: Surroundings): Promise<void> {
  const config = readConfig(environment);
  const { secondHsm } = config;
  if (!secondHsm) throw new Failed('set STATHERA_PKCS11_SECOND_TOKEN_LABEL: it names the second token');
  const { rootId, taken } = await enrolSecond(config, secondHsm, await adapters());
  print(command, { rootId, taken }, () => [
    taken === 0
      ? `the second token (${secondHsm.tokenLabel}, root ${rootId}) is enrolled: nothing to do`
      : `the second token (${secondHsm.tokenLabel}, root ${rootId}) is enrolled: it took ${taken} system keys`,
    'next: stathera serve, or a restart where it runs',
  ]);
}

function readRequest(file: string): string {
  if (statSync(file).size > requestFileLimit) throw new Failed(`${file} is too long for a request`);
  return readFileSync(file, 'utf8');
}
