import { readFile } from 'node:fs/promises';
import { EngineError, errnoOf, messageOf } from '../lib/errors.ts';
import { type KeptValue, type PutBack, putBack, writeLine } from './put-back.ts';
import type { CgroupWrite } from './resources.ts';

/**
 * Makes all writes or none: when one fails, what was changed before gets its old value back. For cgroup v2 directories.
 * Not in this thread: lowering memory.max waits until the kernel has reclaimed what is above it. Gives what undoes them all.
 * @throws EngineError invalid-argument for a value that the kernel refuses, failed-precondition for a file that this kernel or this
 * cgroup does not have, not-found when the cgroup is gone
 */
export async function applyWrites(directory: string, writes: readonly CgroupWrite[]): Promise<PutBack> {
  const kept: KeptValue[] = [];
  for (const { file, value } of writes) {
    try {
      const before = await readFile(`${directory}/${file}`, 'utf8');
      await writeLine(directory, file, value);
      kept.unshift({ directory, file, value: before.trim() });
    } catch (error) {
      // The first failure is the one to tell; the kernel took these values before.
      await putBack(kept).catch(() => undefined);
      throw refusal(directory, { file, value }, error);
    }
  }
  return async () => await putBack(kept);
}

function refusal(directory: string, { file, value }: CgroupWrite, cause: unknown): EngineError {
  const what = `write ${JSON.stringify(value)} to ${file} of cgroup ${directory}: ${messageOf(cause)}`;
  switch (errnoOf(cause)) {
    case 'EINVAL':
    case 'ERANGE':
    case 'EBUSY':
      return new EngineError('invalid-argument', what, { cause });
    case 'ENOENT':
    case 'EOPNOTSUPP':
      return new EngineError('failed-precondition', what, { cause });
    case 'ENODEV':
      return new EngineError('not-found', what, { cause });
    default:
      return new EngineError('internal', what, { cause });
  }
}
