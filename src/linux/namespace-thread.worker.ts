/**
 * The one thread that changes namespaces. Everything between entering one and going back is a synchronous call on this very thread:
 * anything that runs in libuv's pool would run in the host's namespaces, or take the pool along. `/proc/self` is the main thread here.
 */
import { closeSync, constants, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { EngineError, errnoOf } from '../lib/errors.ts';
import { bind, close, O_CLOEXEC } from './libc.ts';
import {
  type NamespaceReply,
  type NamespaceRequest,
  type NamespaceResult,
  type NamespaceWorkerData,
  toPlainError,
} from './namespace-requests.ts';
import { isAbsentOrReadOnly, type NamespaceKind, type Sysctl } from './sysctl.ts';

const unshare = bind<[flags: number]>('int unshare(int flags)');
const setns = bind<[fd: number, kind: number]>('int setns(int fd, int nstype)');
const sethostname = bind<[name: Uint8Array, length: number]>('int sethostname(const void *name, size_t len)');
const socket = bind<[family: number, type: number, protocol: number]>(
  'int socket(int domain, int type, int protocol)',
);
/** What Node opens on a thread it closes when the thread ends. */
const open = bind<[path: string, flags: number]>('int open(const char *path, int flags)', {
  pathArgument: 0,
});
const ioctl = bind<[fd: number, request: number, argument: Uint8Array]>(
  'int ioctl(int fd, unsigned long request, void *argument)',
);
const mount = bind<[source: string, target: string, type: null, flags: number, data: null]>(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)',
  { pathArgument: 1 },
);
const unmount = bind<[target: string, flags: number]>('int umount2(const char *target, int flags)', {
  pathArgument: 0,
});

const cloneFlags: Readonly<Record<NamespaceKind, number>> = {
  net: 0x40000000,
  ipc: 0x08000000,
  uts: 0x04000000,
};
const MS_BIND = 4096;
const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;
const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const SIOCSIFFLAGS = 0x8914;
const IFF_UP = 1;
const ifreqBytes = 40;
const ifreqFlagsOffset = 16;

type PinRequest = Extract<NamespaceRequest, { operation: 'pin' }>;

/** Where this thread is at home, opened before it went anywhere. */
const home = new Map<NamespaceKind, number>(
  (['net', 'ipc', 'uts'] as const).map((kind) => [kind, openSync(`/proc/thread-self/ns/${kind}`, 'r')]),
);
const { isAbandoned } = workerData as NamespaceWorkerData;
let stranded = false;

parentPort?.on('message', (request: NamespaceRequest) => {
  const reply = answer(request);
  parentPort?.postMessage({ ...reply, stranded } satisfies NamespaceReply);
  if (!stranded) return;
  for (const fd of home.values()) closeSync(fd);
  // Ends this thread only, and with it the way into the foreign namespace.
  parentPort?.close();
});

function answer(request: NamespaceRequest) {
  try {
    return { ok: true, result: perform(request) } as const;
  } catch (error) {
    return { ok: false, error: toPlainError(error) } as const;
  }
}

function perform(request: NamespaceRequest): NamespaceResult {
  switch (request.operation) {
    case 'pin':
      pin(request);
      return undefined;
    case 'unpin':
      for (const path of request.paths) unpin(path);
      return undefined;
    case 'open-socket':
      return inNetns(request.netnsPath, () =>
        socket(request.family, request.type | SOCK_CLOEXEC, request.protocol),
      );
    case 'write-sysctls':
      inNetns(request.netnsPath, () => {
        for (const sysctl of request.sysctls) writeIfThere(sysctl);
      });
      return undefined;
    case 'open-file':
      return inNetns(request.netnsPath, () => open(request.path, constants.O_RDONLY | O_CLOEXEC));
  }
}

function pin(request: PinRequest): void {
  const { kinds, directory, ofProcess } = request;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const made: string[] = [];
  try {
    for (const kind of ofProcess === undefined ? kinds : [...kinds, 'user']) {
      const path = `${directory}/${kind}`;
      closeSync(openSync(path, 'wx', 0o400));
      made.push(path);
    }
    awayFrom(kinds, () => {
      if (ofProcess === undefined) unshare(kinds.reduce((flags, kind) => flags | cloneFlags[kind], 0));
      else for (const kind of kinds) enterOf(ofProcess, kind);
      if (kinds.includes('net')) raiseLoopback();
      if (request.hostname !== undefined) setHostname(request.hostname);
      for (const sysctl of request.sysctls) writeSysctl(sysctl);
      for (const path of made) {
        const kind = path.slice(directory.length + 1);
        // Whoever asked has undone it by now: a pin that comes later would stay for good.
        if (Atomics.load(isAbandoned, 0) === 1) throw new EngineError('deadline-exceeded', 'too late');
        mount(`/proc/${ofProcess ?? 'thread-self'}/ns/${kind}`, path, null, MS_BIND, null);
      }
    });
  } catch (error) {
    for (const path of made) unpin(path);
    throw error;
  }
}

function enterOf(pid: number, kind: NamespaceKind): void {
  const fd = openSync(`/proc/${pid}/ns/${kind}`, 'r');
  try {
    setns(fd, cloneFlags[kind]);
  } finally {
    closeSync(fd);
  }
}

/** Not an error where nothing is pinned, or nothing is there. */
function unpin(path: string): void {
  try {
    unmount(path, MNT_DETACH | UMOUNT_NOFOLLOW);
  } catch (error) {
    if (errnoOf(error) !== 'EINVAL' && errnoOf(error) !== 'ENOENT') throw error;
  }
  rmSync(path, { force: true });
}

function inNetns<T>(netnsPath: string, work: () => T): T {
  const fd = openSync(netnsPath, 'r');
  try {
    return awayFrom(['net'], () => {
      enter(fd, netnsPath);
      return work();
    });
  } finally {
    closeSync(fd);
  }
}

function enter(fd: number, netnsPath: string): void {
  try {
    setns(fd, cloneFlags.net);
  } catch (error) {
    if (errnoOf(error) !== 'EINVAL') throw error;
    const message = `${netnsPath} is not a network namespace (its mount is gone)`;
    throw new EngineError('failed-precondition', message, { cause: error });
  }
}

/** Runs work that leaves the host's namespaces and comes back, whatever happens. Failing to come back is the end of this thread. */
function awayFrom<T>(kinds: readonly NamespaceKind[], work: () => T): T {
  try {
    return work();
  } finally {
    for (const kind of kinds) {
      try {
        setns(home.get(kind) ?? -1, cloneFlags[kind]);
      } catch {
        stranded = true;
      }
    }
  }
}

function raiseLoopback(): void {
  const request = Buffer.alloc(ifreqBytes);
  request.write('lo');
  request.writeInt16LE(IFF_UP, ifreqFlagsOffset);
  // Any socket will do for a device's flags; this family is never compiled out.
  const fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  try {
    ioctl(fd, SIOCSIFFLAGS, request);
  } finally {
    close(fd);
  }
}

function setHostname(hostname: string): void {
  const name = Buffer.from(hostname);
  sethostname(name, name.length);
}

function writeIfThere(sysctl: Sysctl): void {
  try {
    writeSysctl(sysctl);
  } catch (error) {
    if (!isAbsentOrReadOnly(error instanceof EngineError ? error.cause : error)) throw error;
  }
}

function writeSysctl({ name, path, value }: Sysctl): void {
  try {
    const fd = openSync(path, constants.O_WRONLY);
    try {
      writeSync(fd, value);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'ENOENT') {
      const message = `sysctl ${name} does not exist on this kernel or in this namespace`;
      throw new EngineError('invalid-argument', message, { cause: error });
    }
    if (code === 'EINVAL' || code === 'ERANGE' || code === 'EACCES') {
      const message = `sysctl ${name} cannot be set to ${JSON.stringify(value)} (${code})`;
      throw new EngineError('invalid-argument', message, { cause: error });
    }
    throw error;
  }
}
