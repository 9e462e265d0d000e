import { closeSync, openSync } from 'node:fs';
import { relative } from 'node:path';
import { EngineError, errnoOf } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import { openBeneath, pathDirectory, readFile } from '../../linux/at.ts';

/**
 * Opens an archive below one of `directories`: no `..` and no symlink leads out of it. The descriptor is the caller's.
 * @throws EngineError permission-denied for a path that lies in none of them, or leads out; not-found
 */
export function openArchive(directories: readonly string[], path: string): number {
  const folder = directories.find((one) => !/^\.\.(?:\/|$)/.test(relative(one, path)));
  if (folder === undefined)
    throw new EngineError(
      'permission-denied',
      `image ${quote(path)} lies in none of checkpoints.restore_directories`,
    );
  let root: number | undefined;
  try {
    root = openSync(folder, pathDirectory);
    return openBeneath(root, relative(folder, path), readFile);
  } catch (error) {
    const code = errnoOf(error) ?? '';
    // A symlink that leads out of the folder, or is the archive itself.
    const isLink = code === 'ELOOP' || code === 'EXDEV';
    const kind =
      code === 'ENOENT' ? 'not-found' : isLink ? 'permission-denied' : EngineError.from(error).kind;
    const message = `checkpoint archive ${quote(path)}: ${errnoOf(error) ?? 'cannot be opened'}`;
    throw new EngineError(kind, message, { cause: error });
  } finally {
    if (root !== undefined) closeSync(root);
  }
}
