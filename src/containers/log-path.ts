/** Where a container's log is written. conmon opens it as root, by its path, whatever lies there. */
import { closeSync, constants, mkdirSync, openSync } from 'node:fs';
import { join, normalize, relative } from 'node:path';
import { EngineError, errnoOf } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';
import { mkdirat, openat, pathDirectory } from '../linux/at.ts';
import { fstatat } from '../linux/file-status.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import type { ContainerConfig } from './container-config.ts';

/** What a container's log path is made of. */
export interface LogPlace {
  /** The pod's log directory; symlinks on the way to it are the administrator's. */
  readonly logDirectory: string;
  /** Relative to it. */
  readonly logPath: string;
}

/** undefined where the pod or the container wants no log. */
export function logPlaceOf(
  pod: Pick<Sandbox['config'], 'logDirectory'>,
  { logPath }: Pick<ContainerConfig, 'logPath'>,
): LogPlace | undefined {
  if (pod.logDirectory === undefined || logPath === undefined) return undefined;
  return { logDirectory: pod.logDirectory, logPath };
}

/**
 * The absolute log path. One that climbs out of the pod's log directory would let a request write anywhere on the node.
 *
 * @throws EngineError invalid-argument
 */
export function joinLogPath({ logDirectory, logPath }: LogPlace): string {
  const joined = join(logDirectory, logPath);
  const directory = normalize(logDirectory).replace(/\/$/, '');
  if (joined.startsWith(`${directory}/`) && !joined.endsWith('/')) return joined;
  throw new EngineError('invalid-argument', `log_path ${quote(logPath)} leaves the pod's log directory`);
}

/**
 * Makes the directory of a log, and sees to it that nothing below the pod's log directory leads elsewhere: a container
 * to which the node's logs are mounted could have laid a symlink to a file of the node, which root would then write, or a
 * FIFO, on which conmon would hang. Asked again before each rotation. Nothing where no log is wanted.
 *
 * @throws EngineError failed-precondition naming what is in the way
 */
export function makeLogPlace(place: LogPlace | undefined): void {
  if (place === undefined) return;
  const path = joinLogPath(place);
  const directories = relative(place.logDirectory, path).split('/');
  const file = directories.pop() ?? '';
  mkdirSync(place.logDirectory, { recursive: true, mode: 0o755 });
  using fds = new DisposableStack();
  let directory = openSync(place.logDirectory, pathDirectory);
  fds.adopt(directory, closeSync);
  for (const name of directories) {
    directory = enter(directory, name, path);
    fds.adopt(directory, closeSync);
  }
  // conmon rotates by way of the second name.
  for (const name of [file, `${file}.tmp`]) {
    const status = fstatat(directory, name);
    if (status !== undefined && (status.mode & constants.S_IFMT) !== constants.S_IFREG)
      throw inTheWay(path, name, 'is not a regular file');
  }
}

function enter(parent: number, name: string, path: string): number {
  try {
    mkdirat(parent, name, 0o755);
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
  }
  try {
    return openat(parent, name, pathDirectory | constants.O_NOFOLLOW, 0);
  } catch (error) {
    if (errnoOf(error) !== 'ENOTDIR' && errnoOf(error) !== 'ELOOP') throw error;
    throw inTheWay(path, name, 'is not a directory');
  }
}

function inTheWay(path: string, name: string, problem: string): EngineError {
  return new EngineError('failed-precondition', `log path ${quote(path)}: ${quote(name)} ${problem}`);
}
