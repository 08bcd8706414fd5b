import { ServiceError } from '../../core/errors.ts';

export function detailOf(error: unknown): string {
  return error instanceof ServiceError ? error.detail : 'cannot be read';
}

const dayMs = 24 * 60 * 60 * 1000;

/** A length of time, for people. */
export function spanOf(milliseconds: number): string {
  const days = milliseconds / dayMs;
  if (days >= 2) return `${Math.floor(days)} days`;
  const hours = days * 24;
  return hours >= 2 ? `${Math.floor(hours)} hours` : `${Math.ceil(milliseconds / 1000)} s`;
}

export function dateOf(time: number): string {
  return new Date(time).toISOString();
}
