import type { Store } from '../store/store.ts';
import { databasePlace } from './database-place.ts';
import { type AuditFiles, nodeFiles } from './files.ts';
import { localPlace } from './local-place.ts';
import type { LogPlace } from './place.ts';

export interface PlaceOptions {
  /** Of the segments, where they are files: beside SQLite. */
  readonly directory: string;
  readonly store: Store;
  /** The file system; for tests. */
  readonly files?: AuditFiles;
  /** How long a process may be silent until another finishes its part of a log in PostgreSQL. */
  readonly silentMilliseconds?: number;
}

/** Beside SQLite segments are files of this machine; in PostgreSQL, whose nodes may be lost with their disks, rows. */
export function placeOf({ directory, store, files = nodeFiles, silentMilliseconds }: PlaceOptions): LogPlace {
  return store.dialect.name === 'sqlite'
    ? localPlace(directory, files)
    : databasePlace(store, silentMilliseconds);
}
