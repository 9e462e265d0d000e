/** An expendable thread: it makes one blocking call at a time on a path that may never answer. */
import {
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  realpathSync,
  type Stats,
  statSync,
} from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { errnoOf, messageOf } from '../lib/errors.ts';
import { openInRoot, pathDirectory } from './at.ts';
import { copyTree } from './copy-tree.ts';
import { errnoNumber, SyscallError } from './errors.ts';
import { labelTree } from './label-tree.ts';
import { O_CLOEXEC, O_PATH } from './libc.ts';
import { bindMountFd, unmount } from './mount.ts';
import type {
  PathArgs,
  PathEnvelope,
  PathOperation,
  PathReply,
  PathResult,
  PathStatus,
  PathThreadReady,
} from './path-operations.ts';

function perform({ request, isAbandoned }: PathEnvelope): PathResult<PathOperation> {
  switch (request.operation) {
    case 'stat':
      return statusOf(statSync(request.args.path, { throwIfNoEntry: false }));
    case 'lstat':
      return statusOf(lstatSync(request.args.path, { throwIfNoEntry: false }));
    case 'mkdirp':
      return mkdirSync(request.args.path, { recursive: true, mode: request.args.mode });
    case 'bind-mount':
      return bind(request.args, isAbandoned);
    case 'unmount':
      return unmount(request.args.path, { lazy: request.args.lazy === true });
    case 'realpath':
      return ifThere(() => realpathSync.native(request.args.path));
    case 'readdir':
      return ifThere(() => readdirSync(request.args.path));
    case 'open':
      return ifThere(() => openSync(request.args.path, request.args.flags | O_CLOEXEC));
    case 'copy-tree':
      return copyTree({ ...request.args, root: request.args.path });
    case 'label-tree':
      labelTree(request.args);
      return undefined;
  }
}

function bind(args: PathArgs<'bind-mount'>, isAbandoned: Int32Array): undefined {
  using fds = new DisposableStack();
  const hold = (fd: number): number => {
    fds.defer(() => closeSync(fd));
    return fd;
  };
  const source = hold(openSync(args.path, O_PATH | O_CLOEXEC));
  const root = hold(openSync(args.targetRoot, pathDirectory));
  const target = hold(openInRoot(root, args.target, O_PATH | O_CLOEXEC));
  // The source may have answered after its caller had gone: a mount now would be nobody's.
  if (Atomics.load(isAbandoned, 0) !== 0) throw new SyscallError('bind-mount', errnoNumber('ECANCELED'));
  bindMountFd(source, target, args.options ?? {});
}

function ifThere<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function statusOf(stats: Stats | undefined): PathStatus | undefined {
  if (stats === undefined) return undefined;
  return {
    kind: kindOf(stats),
    mode: stats.mode,
    uid: stats.uid,
    gid: stats.gid,
    sizeBytes: stats.size,
    rdev: stats.rdev,
    dev: stats.dev,
  };
}

function kindOf(stats: Stats): PathStatus['kind'] {
  if (stats.isDirectory()) return 'directory';
  if (stats.isSymbolicLink()) return 'symlink';
  if (stats.isSocket()) return 'socket';
  if (stats.isFIFO()) return 'fifo';
  if (stats.isBlockDevice()) return 'block-device';
  return stats.isCharacterDevice() ? 'char-device' : 'file';
}

function replyTo(envelope: PathEnvelope): PathReply {
  const { request } = envelope;
  try {
    return { name: 'done', result: perform(envelope) };
  } catch (error) {
    return {
      name: 'failed',
      syscall: error instanceof SyscallError ? error.syscall : request.operation,
      errno: errnoNumber(errnoOf(error) ?? ''),
      path: error instanceof SyscallError ? (error.path ?? request.args.path) : request.args.path,
      message: messageOf(error),
    };
  }
}

parentPort?.on('message', (envelope: PathEnvelope) => parentPort?.postMessage(replyTo(envelope)));
parentPort?.postMessage('ready' satisfies PathThreadReady);
