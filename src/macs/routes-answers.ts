import type { z } from 'zod';
import { toBase64 } from '../core/bytes.ts';
import type { Mac } from './macs.ts';
import type { macAnswer } from './routes-schemas.ts';

export function macOut({ mac, keyId, keyVersion }: Mac): z.output<typeof macAnswer> {
  return { mac: toBase64(mac), keyId, keyVersion };
}
