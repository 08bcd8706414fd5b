export type { Contributed, ContributeOptions, ContributeService } from './contribute.ts';
export { type EpochManifest, type ManifestColumn, verifyManifest } from './manifest.ts';
export { type Row, RowRefused } from './tally.ts';
export { contribute } from './web-encrypt.ts';
