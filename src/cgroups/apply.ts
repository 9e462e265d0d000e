import { readFile, writeFile } from 'node:fs/promises';
import { EngineError, errnoOf, messageOf } from '../lib/errors.ts';
import type { CgroupWrite } from './resources.ts';

/**
 * Makes all writes or none: when one fails, what was changed before gets its old value back. For cgroup v2 directories.
 * Not in this thread: lowering memory.max waits until the kernel has reclaimed what is above it.
 * @throws EngineError invalid-argument for a value that the kernel refuses, failed-precondition for a file that this kernel or this
 * cgroup does not have, not-found when the cgroup is gone
 */
export async function applyWrites(directory: string, writes: readonly CgroupWrite[]): Promise<void> {
  const undo: CgroupWrite[] = [];
  for (const write of writes) {
    try {
      // A device's own line of io.max and the like cannot be told from the others: those go back line by line.
      const before = await readFile(`${directory}/${write.file}`, 'utf8');
      await put(directory, write);
      undo.unshift(
        ...before
          .trim()
          .split('\n')
          .map((value) => ({ file: write.file, value })),
      );
    } catch (error) {
      for (const old of undo) await putBack(directory, old);
      throw refusal(directory, write, error);
    }
  }
}

/** One write call, without O_CREAT and O_TRUNC: a directory that stands for a cgroup must have the file already. */
async function put(directory: string, write: CgroupWrite): Promise<void> {
  // An empty list (cpuset.cpus: what the parent has) is an empty line: no bytes would be no write call.
  const text = write.value === '' ? '\n' : write.value;
  await writeFile(`${directory}/${write.file}`, text, { flag: 'r+' });
}

async function putBack(directory: string, write: CgroupWrite): Promise<void> {
  try {
    await put(directory, write);
  } catch {
    // The first failure is the one to tell; the kernel took this value before.
  }
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
