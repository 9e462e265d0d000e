/** The file that a checkpoint is written to: there whole, or not at all. */
import { randomBytes } from 'node:crypto';
import { closeSync, constants, fstatSync, fsync, lstatSync, openSync, realpathSync } from 'node:fs';
import { unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { EngineError, errnoOf, messageOf } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import { linkat, openat, readDirectory } from '../../linux/at.ts';
import { O_CLOEXEC } from '../../linux/libc.ts';

const createNew =
  constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW | O_CLOEXEC;
const synced = promisify(fsync);
const worldOrGroupWritable = 0o022;
const sticky = 0o1000;

/**
 * An archive in work, under a name of its own beside the wanted one. Disposed without `commit`, nothing is left; what a crash leaves is
 * found by whoever wrote `partPath` down before `create`.
 */
export class NewArchive implements AsyncDisposable {
  /** Absolute, without symlinks. */
  readonly partPath: string;
  readonly #directory: number;
  readonly #part: string;
  readonly #name: string;
  readonly #location: string;

  /**
   * `location` is absolute and names a file that is not there yet, in a directory that is.
   * @throws EngineError invalid-argument, failed-precondition (the directory), permission-denied (others could change where it leads)
   */
  constructor(location: string) {
    const directory = trustedDirectory(location);
    this.#location = location;
    this.#name = basename(location);
    this.#part = `.gantry-checkpoint-${randomBytes(8).toString('hex')}.part`;
    this.partPath = join(directory, this.#part);
    this.#directory = openSync(directory, readDirectory);
    try {
      checkDirectory(this.#directory, location);
      if (exists(location)) throw this.#taken();
    } catch (error) {
      closeSync(this.#directory);
      throw EngineError.from(error);
    }
  }

  /** Makes the file at `partPath`, empty and of mode 0600. */
  create(): void {
    closeSync(openat(this.#directory, this.#part, createNew, 0o600));
  }

  /** Gives the archive its name, once its bytes are on the disk. @throws EngineError already-exists if somebody took the name meanwhile */
  async commit(): Promise<void> {
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | O_CLOEXEC;
    const fd = openat(this.#directory, this.#part, flags, 0);
    try {
      // Gigabytes, perhaps: in libuv's pool.
      await synced(fd);
    } finally {
      closeSync(fd);
    }
    try {
      // Not a rename: that would replace what is there.
      linkat({ dirFd: this.#directory, name: this.#part }, { dirFd: this.#directory, name: this.#name });
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') throw this.#taken();
      throw error;
    }
    await using undo = new AsyncDisposableStack();
    undo.defer(async () => await this.#unlink(this.#name));
    await this.#unlink(this.#part);
    await synced(this.#directory);
    undo.move();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#unlink(this.#part);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    } finally {
      closeSync(this.#directory);
    }
  }

  async #unlink(name: string): Promise<void> {
    await unlink(`/proc/self/fd/${this.#directory}/${name}`);
  }

  #taken(): EngineError {
    return new EngineError('already-exists', `location ${quote(this.#location)}: there is a file already`);
  }
}

function trustedDirectory(location: string): string {
  if (!location.startsWith('/') || location.endsWith('/') || /[\0\n]/.test(location))
    throw new EngineError(
      'invalid-argument',
      `location ${quote(location)} is not the absolute path of a file`,
    );
  if (['.', '..'].includes(basename(location)))
    throw new EngineError('invalid-argument', `location ${quote(location)} does not name a file`);
  try {
    checkSymlinks(dirname(location));
    return realpathSync(dirname(location));
  } catch (error) {
    if (error instanceof EngineError) throw error;
    const message = `location ${quote(location)}: its directory: ${messageOf(error)}`;
    throw new EngineError('failed-precondition', message, { cause: error });
  }
}

/** A node may have moved the kubelet's directory by a symlink; one that belongs to somebody else leads where they want. */
function checkSymlinks(directory: string): void {
  let path = '';
  for (const part of directory.split('/').filter((name) => name !== '')) {
    path += `/${part}`;
    const status = lstatSync(path);
    if (status.isSymbolicLink() && status.uid !== 0)
      throw new EngineError(
        'permission-denied',
        `${quote(path)} is a symlink that belongs to user ${status.uid}`,
      );
  }
}

function checkDirectory(fd: number, location: string): void {
  const { uid, mode } = fstatSync(fd);
  const isShared = (mode & worldOrGroupWritable) !== 0 && (mode & sticky) === 0;
  if (uid === 0 && !isShared) return;
  throw new EngineError(
    'permission-denied',
    `location ${quote(location)}: others than root can change its directory`,
  );
}

function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}
