import { mkdirDurably } from '../core/durable-file.ts';
import { type AuditFiles, nodeFiles } from './files.ts';
import { type SlotLock, takeSlot, tryLockSlot } from './lock.ts';
import type { LogPlace, Slot } from './place.ts';
import { unavailable } from './unavailable.ts';

/** A log in files of this machine. */
export function localPlace(directory: string, files: AuditFiles = nodeFiles): LogPlace {
  return {
    directory,
    files,
    async create() {
      try {
        mkdirDurably(directory);
      } catch (error) {
        throw unavailable(`The audit directory ${directory} cannot be created.`, error);
      }
    },
    async take(wanted) {
      const { writer, lock } = takeSlot(directory, wanted);
      return localSlot(writer, lock, files);
    },
    async tryTake(writer) {
      const lock = tryLockSlot(directory, writer);
      return lock && localSlot(writer, lock, files);
    },
    // The kernel unlocks what a process had.
    abandoned: async () => [],
  };
}

function localSlot(writer: string, lock: SlotLock, files: AuditFiles): Slot {
  return {
    writer,
    files,
    renew: lock.renew,
    confirm: async () => undefined,
    onLost: () => undefined,
    release: async () => lock.release(),
  };
}
