/** What may be done to a path that can hang, and how it travels to an expendable thread and back. */
import type { CopyTreeRequest } from './copy-tree.ts';
import type { LabelTreeRequest } from './label-tree.ts';
import type { BindOptions } from './mount.ts';

/** What a caller wants to know of a path. */
export interface PathStatus {
  readonly kind: 'file' | 'directory' | 'symlink' | 'socket' | 'fifo' | 'block-device' | 'char-device';
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  /** Of the device that a device node stands for. */
  readonly rdev: number;
  /** Of the file system that holds it. */
  readonly dev: number;
}

/** Arguments and result of each operation. `undefined` for a result means that the path does not exist. */
interface PathOperations {
  /** Follows symlinks. */
  readonly stat: { readonly args: { readonly path: string }; readonly result: PathStatus | undefined };
  readonly lstat: { readonly args: { readonly path: string }; readonly result: PathStatus | undefined };
  /** Makes a directory with its parents; the first one made, undefined if none was. */
  readonly mkdirp: {
    readonly args: { readonly path: string; readonly mode: number };
    readonly result: string | undefined;
  };
  /**
   * Binds `path` (symlinks followed) to `target` as a process chrooted to `targetRoot` would see it. Both ends are
   * held by descriptors, so that an exchange of symlinks meanwhile leads nowhere (CVE-2021-30465).
   */
  readonly 'bind-mount': {
    readonly args: {
      readonly path: string;
      readonly targetRoot: string;
      readonly target: string;
      readonly options?: BindOptions;
    };
    readonly result: undefined;
  };
  /** False if nothing is mounted there. */
  readonly unmount: {
    readonly args: { readonly path: string; readonly lazy?: boolean };
    readonly result: boolean;
  };
  readonly realpath: { readonly args: { readonly path: string }; readonly result: string | undefined };
  readonly readdir: { readonly args: { readonly path: string }; readonly result: string[] | undefined };
  /** A descriptor of this process, O_CLOEXEC; the caller closes it. `flags` as of open(2). */
  readonly open: {
    readonly args: { readonly path: string; readonly flags: number };
    readonly result: number | undefined;
  };
  /** As copyTree: `path` is the root file system, `stop` ends it early. */
  readonly 'copy-tree': {
    readonly args: Omit<CopyTreeRequest, 'root'> & { readonly path: string };
    readonly result: boolean;
  };
  /** As labelTree: `stop` ends it early. */
  readonly 'label-tree': { readonly args: LabelTreeRequest; readonly result: undefined };
}

export type PathOperation = keyof PathOperations;
export type PathArgs<O extends PathOperation> = PathOperations[O]['args'];
export type PathResult<O extends PathOperation> = PathOperations[O]['result'];

/** A call on its way to the thread. */
export type PathRequest = {
  [O in PathOperation]: { readonly operation: O; readonly args: PathArgs<O> };
}[PathOperation];

/** What is sent to the thread. */
export interface PathEnvelope {
  readonly request: PathRequest;
  /** Not 0 when nobody waits any more: what has not happened yet must not happen. */
  readonly isAbandoned: Int32Array;
}

/** The thread's first message. */
export type PathThreadReady = 'ready';

export type PathReply =
  | { readonly name: 'done'; readonly result: PathResult<PathOperation> }
  | {
      readonly name: 'failed';
      readonly syscall: string;
      readonly errno: number;
      readonly path: string;
      readonly message: string;
    };
