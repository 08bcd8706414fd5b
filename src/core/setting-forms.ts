import { z } from 'zod';

// What settings look like that several have in common.

/** A whole number within bounds, `text` by default. */
export const whole = (text: string, min: number, max: number) =>
  z
    .string()
    .default(text)
    .refine((value) => /^\d{1,12}$/.test(value) && Number(value) >= min && Number(value) <= max, {
      error: `must be a whole number from ${min} to ${max}`,
    })
    .transform(Number);

/** 1 or 0, which is the default. */
export const flag = z
  .enum(['0', '1'], { error: 'must be 0 or 1' })
  .default('0')
  .transform((value) => value === '1');

/** The number of a PKCS#11 mechanism. */
export const mechanism = z
  .string()
  .refine((value) => /^0x[0-9a-fA-F]{1,8}$/.test(value), { error: 'must be a CKM number such as 0x210A' })
  .transform(Number)
  .optional();

export const file = z.string().min(1).optional();
