/** One daemon for each directory: two on the same one would undo each other's work. */
import { closeSync, constants, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { EngineError } from '../lib/errors.ts';
import { tryLockFile } from '../linux/file-lock.ts';

/**
 * Takes a directory until the returned value is disposed or the process ends.
 *
 * @throws EngineError failed-precondition naming the directory and the process that has it
 */
export function lockDirectory(directory: string): Disposable {
  const path = `${directory}/lock`;
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  if (!tryLockFile(fd)) {
    closeSync(fd);
    const owner = readFileSync(path, 'utf8').trim();
    throw new EngineError('failed-precondition', `another daemon (process ${owner}) uses ${directory}`);
  }
  ftruncateSync(fd);
  writeSync(fd, `${process.pid}\n`, 0);
  return { [Symbol.dispose]: () => closeSync(fd) };
}
