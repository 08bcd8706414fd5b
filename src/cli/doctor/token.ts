import type { Adapters } from '../../adapters.ts';
import type { Config } from '../../config.ts';
import type { TokenReport } from '../../hsm/hsm.ts';
import { type Finding, failed, ok, unchecked, warning } from './finding.ts';
import { detailOf } from './text.ts';

/** Logs in to the token. Not as another user than its own: SoftHSM would leave files that the service cannot write. */
export async function checkToken(
  { hsm, dataDir }: Config,
  adapters: Adapters,
  owner: number | undefined,
): Promise<{ findings: Finding[]; rootId?: string }> {
  if (owner !== undefined && hsm.softhsmConf !== undefined && owner !== process.getuid?.()) {
    const text = `not as another user than ${owner}, who owns ${dataDir}: SoftHSM would leave files of this one`;
    return { findings: [unchecked('token', text, 'run it as that user')] };
  }
  let report: TokenReport;
  try {
    // A PIN the token refused before is not tried again for this.
    report = await adapters.describeToken(hsm);
  } catch (error) {
    const next = 'check STATHERA_PKCS11_MODULE, STATHERA_PKCS11_TOKEN_LABEL, the PIN file and the device';
    return { findings: [failed('token', detailOf(error), next)] };
  }
  return {
    findings: [checkModule(report), checkPin(report), checkMechanisms(report)],
    rootId: report.root.id,
  };
}

/** The node's second token, if it has one: the worst that is wrong with it. */
export async function checkSecondToken(
  config: Config,
  adapters: Adapters,
  owner: number | undefined,
): Promise<{ findings: Finding[]; rootId?: string }> {
  if (!config.secondHsm) return { findings: [] };
  const { findings, ...root } = await checkToken({ ...config, hsm: config.secondHsm }, adapters, owner);
  const wrong = findings.filter(({ state }) => state !== 'ok');
  const worst = wrong.find(({ state }) => state === 'failed') ?? wrong[0];
  const told = worst ?? findings.find(({ check }) => check === 'token');
  return { findings: told ? [{ ...told, check: 'second token' }] : [], ...root };
}

function checkModule({ module: { manufacturer, description, version }, custody }: TokenReport): Finding {
  const name = `${manufacturer} ${description} ${version}`;
  if (custody === 'kept') return ok('module', name);
  const text = `${name} gives out keys that must not leave it (CKA_EXTRACTABLE false)`;
  return custody === 'tests-only'
    ? warning('module', text, 'use it for tests only: whoever has the PIN has every key')
    : failed('module', `${text}: serve refuses it`, 'ask its vendor, or use another module');
}

function checkPin({ token, root }: TokenReport): Finding {
  const text = `${token.label} (${token.manufacturer} ${token.model}), root ${root.id}`;
  if (token.pinLocked) {
    return failed(
      'token',
      `${text}: its PIN is locked`,
      'unlock it with the vendor’s tool, as its security officer',
    );
  }
  return token.pinTriesLow
    ? warning('token', `${text}: a wrong PIN was tried`, 'find out by whom; the next right one clears it')
    : ok('token', text);
}

function checkMechanisms({ mechanisms }: TokenReport): Finding {
  const missing = mechanisms.filter(({ present }) => !present).map(({ name }) => name);
  if (missing.length === 0) return ok('mechanisms', 'all there');
  const next =
    'allow them in the token’s policy, or set STATHERA_PKCS11_WRAP_MECHANISM to the module’s own AES-KWP';
  return failed('mechanisms', `missing: ${missing.join(', ')}`, next);
}
