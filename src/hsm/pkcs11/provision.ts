import { randomBytes } from 'node:crypto';
import { readdirSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as graphene from 'graphene-pk11';
import { createDurably, mkdirDurably } from '../../core/durable-file.ts';
import { idBytes, idFromBytes, newId } from '../../core/ids.ts';
import { slotsWithLabel } from './cryptoki.ts';
import {
  findRoot,
  findRoots,
  findSlot,
  initializeConfiguredModule,
  logIn,
  requireUntriedPin,
} from './login.ts';
import { moduleTraits, wrapMechanismOf } from './modules.ts';
import { rootTemplate } from './objects.ts';
import { readPin } from './pin.ts';
import { moduleEnvironment } from './settings.ts';
import {
  fsyncTree,
  keepTokenFiles,
  removeUnfinished,
  restoreTokenFiles,
  tokensFolder,
  unfinishedFolder,
  writeConfiguration,
} from './softhsm.ts';
import type { ProvisionedToken, TokenSettings } from './token.ts';
import { TokenRefusal } from './token-refusal.ts';

/**
 * Makes what is missing of the token in this process, which must not have the module open: `provisionToken`
 * runs it in a child. Killed at any point, the next run finishes. SoftHSM's token is made in a folder of its
 * own and moved to its place when it is whole and on disk, since SoftHSM syncs nothing: a power failure could
 * leave a token of parts.
 * @throws TokenRefusal, or the module's error
 */
export function provisionHere(settings: TokenSettings): ProvisionedToken {
  const { pinFile, softhsmConf } = settings;
  mkdirDurably(dirname(pinFile));
  if (softhsmConf !== undefined) {
    removeUnfinished(softhsmConf);
    writeConfiguration(softhsmConf, tokensFolder(softhsmConf));
    restoreTokenFiles(softhsmConf);
    keepTokenFiles(softhsmConf);
  }
  requireUntriedPin(pinFile);
  const module = loadGraphene(settings.module);
  const there = opened(module, settings, softhsmConf, () => {
    if (slotsWithLabel(module.lib, settings.tokenLabel).length === 0) return undefined;
    return rootOf(module, settings);
  });
  const token = there ?? makeSoftHsmToken(module, settings);
  if (softhsmConf !== undefined) {
    // Also what a run that was killed has left unsynced.
    keepTokenFiles(softhsmConf);
    fsyncTree(tokensFolder(softhsmConf));
  }
  return token;
}

function opened<Result>(
  module: graphene.Module,
  settings: TokenSettings,
  softhsmConf: string | undefined,
  work: () => Result,
): Result {
  Object.assign(process.env, moduleEnvironment(softhsmConf));
  initializeConfiguredModule(module.lib, settings);
  try {
    return work();
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

/** The token's root, made if there is none. */
function rootOf(module: graphene.Module, settings: TokenSettings): ProvisionedToken {
  const { pinFile, tokenLabel } = settings;
  const handle = findSlot(module.lib, tokenLabel);
  const slot = slots(module).find((candidate) => candidate.handle.equals(handle));
  if (slot === undefined) throw new TokenRefusal('The token went away during the set-up. Run it again.');
  if ((slot.getToken().flags & graphene.TokenFlag.USER_PIN_INITIALIZED) === 0) {
    throw new TokenRefusal(
      'The token has no user PIN, and it was not made by this set-up. Set the PIN with the vendor’s tool ' +
        'and put it into the PIN file.',
    );
  }
  const session = slot.open(graphene.SessionFlag.SERIAL_SESSION | graphene.SessionFlag.RW_SESSION);
  logIn(module.lib, session.handle, pinFile, () => undefined);
  if (findRoots(module.lib, session.handle).length > 0) {
    return { rootId: findRoot(module.lib, session.handle).rootId, created: false };
  }
  const id = idBytes(newId());
  const allowed = moduleTraits(settings.module).rootAllowedMechanisms ? wrapMechanismOf(settings) : undefined;
  session.generateKey(graphene.KeyGenMechanism.AES, rootTemplate(id, allowed));
  return { rootId: idFromBytes(id), created: true };
}

function slots(module: graphene.Module): graphene.Slot[] {
  const collection = module.getSlots(true);
  return Array.from({ length: collection.length }, (_, index) => collection.items(index));
}

/** Makes a whole token in a SoftHSM whose folder is ours; no other module's token, ever. */
function makeSoftHsmToken(module: graphene.Module, settings: TokenSettings): ProvisionedToken {
  const { module: path, softhsmConf, pinFile, tokenLabel } = settings;
  if (softhsmConf === undefined || !moduleTraits(path).initializesTokens) {
    throw new TokenRefusal(
      'No token has the configured label, and this module’s tokens are not ours to initialize. ' +
        'Initialize one with the vendor’s tool, or correct STATHERA_PKCS11_TOKEN_LABEL.',
    );
  }
  const unfinished = unfinishedFolder(softhsmConf);
  const configuration = join(unfinished, 'softhsm2.conf');
  const tokens = tokensFolder(configuration);
  createDurably(pinFile, `${newPin()}\n`);
  writeConfiguration(configuration, tokens);
  const token = opened(module, settings, configuration, () => {
    initializeToken(module, pinFile, tokenLabel);
    return rootOf(module, settings);
  });
  fsyncTree(tokens);
  for (const name of readdirSync(tokens))
    renameSync(join(tokens, name), join(tokensFolder(softhsmConf), name));
  removeUnfinished(softhsmConf);
  return token;
}

/** The SO PIN could reset the user PIN, and nothing needs it again: it is never written down. */
function initializeToken(module: graphene.Module, pinFile: string, tokenLabel: string): void {
  const [slot] = slots(module);
  if (slot === undefined) throw new TokenRefusal('The module has no free slot for a new token.');
  const soPin = newPin();
  // C_InitToken reads exactly 32 bytes of label, blank padded: an unpadded one is read past its end.
  module.lib.C_InitToken(slot.handle, soPin, padLabel(tokenLabel));
  const session = slot.open(graphene.SessionFlag.SERIAL_SESSION | graphene.SessionFlag.RW_SESSION);
  session.login(soPin, graphene.UserType.SO);
  session.initPin(readPin(pinFile).text);
  session.logout();
  session.close();
}

function newPin(): string {
  return randomBytes(32).toString('hex');
}

function padLabel(label: string): string {
  const padding = 32 - Buffer.byteLength(label);
  if (padding < 0) throw new TokenRefusal('The token label is longer than 32 bytes.');
  return label + ' '.repeat(padding);
}
