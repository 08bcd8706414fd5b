import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, opendirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as graphene from 'graphene-pk11';
import { createDurably, fsyncPath, writeDurably } from '../../core/durable-file.ts';
import { idBytes, idFromBytes, newId } from '../../core/ids.ts';
import { returnValue, slotsWithLabel } from './cryptoki.ts';
import {
  findRoot,
  findRoots,
  findSlot,
  initializeConfiguredModule,
  logIn,
  requireUntriedPin,
  TokenRefusal,
} from './login.ts';
import { moduleTraits, wrapMechanismOf } from './modules.ts';
import { rootTemplate } from './objects.ts';
import { readPin } from './pin.ts';
import { moduleEnvironment } from './settings.ts';
import type { ProvisionedToken, TokenSettings } from './token.ts';

/** The durable steps of provisioning, in order; each is announced once it is done. */
export type ProvisionStep =
  | 'configuration-written'
  | 'so-pin-written'
  | 'pin-written'
  | 'token-initialized'
  | 'user-pin-set'
  | 'root-created'
  | 'so-pin-removed';

const tokensFolder = 'tokens';

/**
 * Where the SO PIN lies while a token is being made. It can reset the user PIN, so it is removed as soon as
 * the root exists; until then it is what lets the next start finish a half-made token.
 */
function soPinFile(pinFile: string): string {
  return join(dirname(pinFile), 'so-pin');
}

/**
 * Makes or finishes the token in this process, which must not have the module open: `provisionToken` runs
 * it in a child. Killed at any point, the next run finishes.
 * @param done told after each durable step that was needed
 * @throws TokenRefusal, or the module's error
 */
export function provisionHere(
  settings: TokenSettings,
  done: (step: ProvisionStep) => void = () => undefined,
): ProvisionedToken {
  mkdirSync(dirname(settings.pinFile), { recursive: true, mode: 0o700 });
  if (settings.softhsmConf !== undefined && writeConfiguration(settings.softhsmConf))
    done('configuration-written');
  requireUntriedPin(settings.pinFile);
  Object.assign(process.env, moduleEnvironment(settings.softhsmConf));
  const module = loadGraphene(settings.module);
  initializeConfiguredModule(module.lib, settings);
  try {
    const token = makeToken(module, settings, done);
    if (settings.softhsmConf !== undefined) fsyncTree(tokensPath(settings.softhsmConf));
    if (existsSync(soPinFile(settings.pinFile))) {
      rmSync(soPinFile(settings.pinFile));
      fsyncPath(dirname(settings.pinFile));
      done('so-pin-removed');
    }
    return token;
  } finally {
    module.lib.C_Finalize();
  }
}

function loadGraphene(path: string): graphene.Module {
  try {
    return graphene.Module.load(path);
  } catch (error) {
    throw new TokenRefusal(
      'The PKCS#11 module could not be loaded. Install it, or set STATHERA_PKCS11_MODULE to its path.',
      error,
    );
  }
}

function tokensPath(softhsmConf: string): string {
  const { SOFTHSM2_CONF = softhsmConf } = moduleEnvironment(softhsmConf);
  return join(dirname(SOFTHSM2_CONF), tokensFolder);
}

/** Writes SoftHSM's configuration beside its tokens, anew when the data directory has moved. */
function writeConfiguration(softhsmConf: string): boolean {
  const tokens = tokensPath(softhsmConf);
  mkdirSync(tokens, { recursive: true, mode: 0o700 });
  const text = [
    `directories.tokendir = ${tokens}`,
    'objectstore.backend = file',
    'log.level = ERROR',
    'slots.removable = false',
    '',
  ].join('\n');
  if (existsSync(softhsmConf) && readFileSync(softhsmConf, 'utf8') === text) return false;
  writeDurably(softhsmConf, text);
  return true;
}

function makeToken(
  module: graphene.Module,
  settings: TokenSettings,
  done: (step: ProvisionStep) => void,
): ProvisionedToken {
  const { pinFile, tokenLabel } = settings;
  if (slotsWithLabel(module.lib, tokenLabel).length === 0) initializeToken(module, settings, done);
  const handle = findSlot(module.lib, tokenLabel);
  const slot = slots(module).find((candidate) => candidate.handle.equals(handle));
  if (slot === undefined) throw new TokenRefusal('The token went away during the set-up. Run it again.');
  if ((slot.getToken().flags & graphene.TokenFlag.USER_PIN_INITIALIZED) === 0)
    setUserPin(slot, pinFile, done);
  const session = slot.open(graphene.SessionFlag.SERIAL_SESSION | graphene.SessionFlag.RW_SESSION);
  logIn(module.lib, session.handle, pinFile, () => undefined);
  if (findRoots(module.lib, session.handle).length > 0) {
    return { rootId: findRoot(module.lib, session.handle).rootId, created: false };
  }
  const id = idBytes(newId());
  const allowed = moduleTraits(settings.module).rootAllowedMechanisms ? wrapMechanismOf(settings) : undefined;
  session.generateKey(graphene.KeyGenMechanism.AES, rootTemplate(id, allowed));
  done('root-created');
  return { rootId: idFromBytes(id), created: true };
}

function slots(module: graphene.Module): graphene.Slot[] {
  const collection = module.getSlots(true);
  return Array.from({ length: collection.length }, (_, index) => collection.items(index));
}

/** Initializes a free slot of a SoftHSM whose token directory is ours; no other module's token, ever. */
function initializeToken(
  module: graphene.Module,
  { module: path, softhsmConf, pinFile, tokenLabel }: TokenSettings,
  done: (step: ProvisionStep) => void,
): void {
  if (softhsmConf === undefined || !moduleTraits(path).initializesTokens) {
    throw new TokenRefusal(
      'No token has the configured label, and this module’s tokens are not ours to initialize. ' +
        'Initialize one with the vendor’s tool, or correct STATHERA_PKCS11_TOKEN_LABEL.',
    );
  }
  const free = slots(module).find(
    (slot) => (slot.getToken().flags & graphene.TokenFlag.TOKEN_INITIALIZED) === 0,
  );
  if (free === undefined) throw new TokenRefusal('The module has no free slot for a new token.');
  if (createDurably(soPinFile(pinFile), `${newPin()}\n`)) done('so-pin-written');
  if (createDurably(pinFile, `${newPin()}\n`)) done('pin-written');
  // C_InitToken reads exactly 32 bytes of label, blank padded: an unpadded one is read past its end.
  module.lib.C_InitToken(free.handle, readPin(soPinFile(pinFile)).text, padLabel(tokenLabel));
  done('token-initialized');
}

function newPin(): string {
  return randomBytes(32).toString('hex');
}

function padLabel(label: string): string {
  const padding = 32 - Buffer.byteLength(label);
  if (padding < 0) throw new TokenRefusal('The token label is longer than 32 bytes.');
  return label + ' '.repeat(padding);
}

function setUserPin(slot: graphene.Slot, pinFile: string, done: (step: ProvisionStep) => void): void {
  if (!existsSync(soPinFile(pinFile))) {
    throw new TokenRefusal(
      'The token has no user PIN, and it was not made by this set-up. Set the PIN with the vendor’s tool ' +
        'and put it into the PIN file.',
    );
  }
  if (createDurably(pinFile, `${newPin()}\n`)) done('pin-written');
  const session = slot.open(graphene.SessionFlag.SERIAL_SESSION | graphene.SessionFlag.RW_SESSION);
  try {
    session.login(readPin(soPinFile(pinFile)).text, graphene.UserType.SO);
    session.initPin(readPin(pinFile).text);
    session.logout();
  } catch (error) {
    throw new TokenRefusal(
      `The half-made token could not be finished (PKCS#11 return value ${returnValue(error) ?? 0}). ` +
        'If it never held a key, remove its directory under the data directory’s hsm/tokens and run the set-up again.',
      error,
    );
  } finally {
    session.close();
  }
  done('user-pin-set');
}

/** SoftHSM does not sync what it writes; losing the root loses every key under it. */
function fsyncTree(path: string): void {
  const directory = opendirSync(path);
  try {
    for (let entry = directory.readSync(); entry !== null; entry = directory.readSync()) {
      const child = join(path, entry.name);
      if (entry.isDirectory()) fsyncTree(child);
      else if (entry.isFile()) fsyncPath(child);
    }
  } finally {
    directory.closeSync();
  }
  fsyncPath(path);
}
