import { existsSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { concatBytes, lengthPrefixed, wipe } from '../../core/bytes.ts';
import { ServiceError } from '../../core/errors.ts';
import { publicRandom } from '../../core/random.ts';
import { deriveCounterMode } from '../../crypto/kdf.ts';
import { labels } from '../../crypto/labels.ts';
import { type Hsm, HsmRejected, type SeedPlace } from '../hsm.ts';
import { unavailable } from './bring-up.ts';
import { createTokenKeys } from './keys.ts';
import { KnownAnswerMismatch, processKnownAnswers } from './known-answers.ts';
import { threadsRunning } from './lanes.ts';
import { moduleTraits } from './modules.ts';
import { nonceBytes, tagBytes } from './packing.ts';
import { pinRefused } from './pin.ts';
import {
  decryptDraft,
  decryptRsaDraft,
  encryptDraft,
  macDraft,
  maxDataBytes,
  randomDraft,
  reencryptDraft,
  requireKind,
  signDraft,
} from './requests.ts';
import {
  type HsmLog,
  type LinkLimits,
  linkDefaults,
  moduleEnvironment,
  type Pkcs11Settings,
} from './settings.ts';
import { createSubmissions } from './submissions.ts';
import { openTokenLink, type TokenLink } from './token-link.ts';

const defaultGraceMs = 10_000;

/** C_Initialize and C_Finalize are the process's: a second adapter on it would end the first. */
let openInThisProcess = false;

/**
 * Opens the token through a PKCS#11 module: loads, initializes, logs in with the one try a PIN file gets,
 * and proves by known answers the token and this process's own algorithms. One adapter a process.
 * @param deps.log told what happens; no secrets, no paths
 * @param deps.limits other than `linkDefaults`, for tests
 * @throws ServiceError `hsm/unavailable` whose detail tells what to do
 */
export async function openPkcs11Hsm(
  settings: Pkcs11Settings,
  deps: { log?: HsmLog; limits?: Partial<LinkLimits> } = {},
): Promise<Hsm> {
  if (openInThisProcess || threadsRunning())
    throw new ServiceError('internal', 'This process has an HSM open already.');
  if (!isMainThread) throw new ServiceError('internal', 'The HSM is opened on the main thread.');
  openInThisProcess = true;
  try {
    await proveProcess();
    // A worker's process.env is a copy, and the module asks getenv: it must be set here.
    Object.assign(process.env, moduleEnvironment(settings.softhsmConf));
    const { renewAfterObjects = Number.POSITIVE_INFINITY } = moduleTraits(settings.module);
    const limits = { ...linkDefaults, renewAfterObjects, ...deps.limits };
    return await open(settings, deps.log ?? (() => undefined), limits);
  } catch (error) {
    openInThisProcess = false;
    throw error;
  }
}

async function proveProcess(): Promise<void> {
  try {
    await processKnownAnswers();
  } catch (error) {
    if (!(error instanceof KnownAnswerMismatch)) throw error;
    throw unavailable(`This runtime failed the known-answer test of ${error.algorithm}; do not use it.`);
  }
}

async function open(settings: Pkcs11Settings, log: HsmLog, limits: LinkLimits): Promise<Hsm> {
  const keys = createTokenKeys(() => link, settings.handleLimit);
  const submissions = createSubmissions(() => link, keys.cache, settings.maxQueued);
  const { submit, admit, queued, drain } = submissions;
  const owner = {
    onDead: () => keys.clear(),
    onLost: () => submissions.resume(),
    onWorn: (objects: number) => void renew(objects),
  };
  const link: TokenLink = await openTokenLink(settings, { log, limits, owner });
  let closed: Promise<void> | undefined;

  /** The rare re-initialize of a module that leaks: what comes meanwhile waits, what is in hand is finished. */
  async function renew(objects: number): Promise<void> {
    if (!existsSync(settings.pinFile) || pinRefused(settings.pinFile)) {
      // What works is worth more than the memory.
      log('warn', 'hsm.renew-postponed', { objects });
      return;
    }
    const since = performance.now();
    await submissions.pause();
    const before = link.generation();
    await link.renew();
    submissions.resume();
    if (link.state() !== 'ready' || link.generation() === before) return;
    const pauseMs = Math.round(performance.now() - since);
    log('info', 'hsm.renewed', { generation: link.generation(), objects, pauseMs });
  }

  async function close(graceMs: number): Promise<void> {
    await drain(graceMs);
    await link.close();
    openInThisProcess = false;
    log('info', 'hsm.closed', {});
  }

  const hsm: Hsm = {
    rootId: link.token.rootId,
    generate: (kind, under) => admit(() => keys.generate(kind, under)),
    generatePair: (kind, under) => admit(() => keys.generatePair(kind, under)),
    sign: (key, mechanism, data) => attempt(() => submit(signDraft(key, mechanism, data), key)),
    rewrap: (key, to) => admit(() => keys.rewrap(key, to)),
    transport: (key, publicKey) => admit(() => keys.transport(key, publicKey)),
    receive: (kind, transported) => admit(() => keys.receive(kind, transported)),
    encrypt: (key, input) =>
      attempt(() => {
        requireKind(key, 'aes-128', 'aes-256');
        return submit(encryptDraft(input), key);
      }),
    decrypt: (key, input) =>
      attempt(() => {
        requireKind(key, 'aes-128', 'aes-256');
        const draft = decryptDraft(input);
        return draft === undefined ? Promise.reject(new HsmRejected()) : submit(draft, key);
      }),
    reencrypt: (from, to) =>
      attempt(() => {
        requireKind(from.key, 'aes-128', 'aes-256');
        requireKind(to.key, 'aes-128', 'aes-256');
        const draft = reencryptDraft(from, to);
        return draft === undefined ? Promise.reject(new HsmRejected()) : submit(draft, from.key, to.key);
      }),
    mac: (key, data) => attempt(() => submit(macDraft(key, data), key)),
    decryptRsa: (key, data) =>
      attempt(async () => {
        const draft = decryptRsaDraft(key, data);
        if (draft === undefined) throw new HsmRejected();
        return leftPadded(await submit(draft, key), data.length);
      }),
    importSecret: (kind, value, under) => admit(() => keys.importSecret(kind, value, under)),
    derive: (key, input) =>
      attempt(() => {
        requireKind(key, 'hmac-256');
        return deriveCounterMode((data) => hsm.mac(key, data), input);
      }),
    random: (bytes) => attempt(() => submit(randomDraft(bytes))),
    async sealSeed(key, place, seed) {
      const nonce = publicRandom(nonceBytes);
      return concatBytes(nonce, await hsm.encrypt(key, { nonce, aad: seedAad(place), data: seed }));
    },
    async openSeed(key, place, sealed) {
      const sealedBytes = sealed.length - nonceBytes;
      if (sealedBytes < tagBytes || sealedBytes > maxDataBytes + tagBytes) throw new HsmRejected();
      const nonce = sealed.subarray(0, nonceBytes);
      return hsm.decrypt(key, { nonce, aad: seedAad(place), data: sealed.subarray(nonceBytes) });
    },
    evict: (keyId) => keys.evict(keyId),
    probe: () => admit(() => keys.probe()),
    status: () => ({
      state: closed === undefined ? link.state() : 'closed',
      module: settings.module,
      tokenLabel: settings.tokenLabel,
      manufacturer: link.token.manufacturer,
      model: link.token.model,
      generation: link.generation(),
      handles: { cached: keys.cache.cached(), limit: settings.handleLimit, misses: keys.cache.misses() },
      queued: queued(),
    }),
    close(graceMs = defaultGraceMs) {
      closed ??= close(graceMs);
      return closed;
    },
  };
  return hsm;
}

function seedAad(place: SeedPlace): Uint8Array {
  return lengthPrefixed(labels.sealedSeed, ...place);
}

/** PKCS#11 v2.40 §2.1.8 has CKM_RSA_X_509 give the modulus's length; what a module left out was zeros. */
function leftPadded(bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length === length) return bytes;
  const padded = concatBytes(new Uint8Array(length - bytes.length), bytes);
  wipe(bytes);
  return padded;
}

/** Wrong arguments reject as everything else does, instead of throwing from the call. */
function attempt(work: () => Promise<Uint8Array>): Promise<Uint8Array> {
  try {
    return work();
  } catch (error) {
    return Promise.reject(error instanceof Error ? error : new Error(String(error)));
  }
}
