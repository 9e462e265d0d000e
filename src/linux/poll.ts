/**
 * Readiness of descriptors that libuv does not take: pidfds, netlink and SEQPACKET sockets. One worker thread waits in epoll_wait.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { EngineError, errnoOf } from '../lib/errors.ts';
import { bind, close, O_CLOEXEC } from './libc.ts';
import {
  encodeEvent,
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLONESHOT,
  EPOLLOUT,
  type PollMessage,
  type PollWorkerData,
  stopToken,
} from './poll-events.ts';
import { workerUrl } from './worker-url.ts';

const epollCreate = bind<[flags: number]>('int epoll_create1(int flags)');
const epollControl = bind<[epollFd: number, operation: number, fd: number, event: Uint8Array | null]>(
  'int epoll_ctl(int epfd, int op, int fd, void *event)',
);
const eventfd = bind<[initial: number, flags: number]>('int eventfd(unsigned int initval, int flags)');
const write = bind<[fd: number, data: Uint8Array, size: number]>(
  'ssize_t write(int fd, const void *buf, size_t count)',
);

const ADD = 1;
const DELETE = 2;
const MODIFY = 3;
const masks = { read: EPOLLIN, write: EPOLLOUT } as const;

interface Watch {
  readonly mask: number;
  readonly callback: () => void;
}

/** All watches of one descriptor: epoll has one entry for each. */
interface Watched {
  readonly fd: number;
  readonly token: number;
  readonly watches: Set<Watch>;
}

export class Poller implements AsyncDisposable {
  readonly #epollFd: number;
  readonly #stopFd: number;
  readonly #worker: Worker;
  readonly #ended: Promise<unknown>;
  readonly #byFd = new Map<number, Watched>();
  readonly #byToken = new Map<number, Watched>();
  readonly #stop: () => void;
  #lastToken = stopToken;
  #closed = false;

  /** Starts the thread. It does not keep the process alive while nothing is watched. */
  constructor() {
    this.#epollFd = epollCreate(O_CLOEXEC);
    this.#stopFd = eventfd(0, O_CLOEXEC);
    epollControl(this.#epollFd, ADD, this.#stopFd, encodeEvent(stopToken, EPOLLIN));
    this.#stop = () => write(this.#stopFd, Buffer.from(new BigUint64Array([1n]).buffer), 8);
    // Node waits for its threads when it exits, and nothing but this descriptor interrupts the wait of this one.
    process.once('exit', this.#stop);
    const workerData: PollWorkerData = { epollFd: this.#epollFd };
    this.#worker = new Worker(workerUrl('./poll.worker', import.meta.url), {
      name: 'gantry-poll',
      workerData,
      execArgv: [],
    });
    this.#ended = once(this.#worker, 'exit');
    this.#worker.on('message', (message: PollMessage) => this.#dispatch(message));
    this.#worker.unref();
  }

  /**
   * Calls back on the main thread whenever the descriptor is readable or writable (also on error and hang-up), again and again for as
   * long as it is. Dispose of the watch before the descriptor is closed: its number may be another file's a moment later.
   */
  watch(fd: number, events: 'read' | 'write', callback: () => void): Disposable {
    if (this.#closed)
      throw new EngineError('unavailable', `cannot watch descriptor ${fd}: the poller has ended`);
    const watch: Watch = { mask: masks[events], callback };
    const watched = this.#byFd.get(fd) ?? { fd, token: this.#lastToken + 1, watches: new Set() };
    watched.watches.add(watch);
    try {
      this.#arm(watched, this.#byFd.has(fd) ? MODIFY : ADD);
    } catch (error) {
      watched.watches.delete(watch);
      throw error;
    }
    this.#lastToken = Math.max(this.#lastToken, watched.token);
    this.#byFd.set(fd, watched);
    this.#byToken.set(watched.token, watched);
    this.#worker.ref();
    return { [Symbol.dispose]: () => this.#unwatch(watched, watch) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) {
      await this.#ended;
      return;
    }
    this.#closed = true;
    this.#byFd.clear();
    this.#byToken.clear();
    process.off('exit', this.#stop);
    this.#worker.ref();
    this.#stop();
    await this.#ended;
    close(this.#epollFd);
    close(this.#stopFd);
  }

  /** One report, then silence until armed again: otherwise a descriptor that stays readable would flood the main thread. */
  #arm(watched: Watched, operation: typeof ADD | typeof MODIFY): void {
    let mask = EPOLLONESHOT;
    for (const watch of watched.watches) mask |= watch.mask;
    epollControl(this.#epollFd, operation, watched.fd, encodeEvent(watched.token, mask));
  }

  #dispatch(message: PollMessage): void {
    for (let index = 0; index < message.length; index += 2) {
      const watched = this.#byToken.get(message[index] ?? stopToken);
      // Disposed of while the report was on its way.
      if (watched === undefined) continue;
      try {
        notify(watched, message[index + 1] ?? 0);
      } finally {
        if (this.#byToken.has(watched.token)) this.#arm(watched, MODIFY);
      }
    }
  }

  #unwatch(watched: Watched, watch: Watch): void {
    if (!watched.watches.delete(watch) || this.#closed) return;
    if (watched.watches.size > 0) {
      this.#arm(watched, MODIFY);
      return;
    }
    this.#byFd.delete(watched.fd);
    this.#byToken.delete(watched.token);
    if (this.#byFd.size === 0) this.#worker.unref();
    try {
      epollControl(this.#epollFd, DELETE, watched.fd, null);
    } catch (error) {
      // Closed too early by its owner: the kernel has dropped it from the set.
      if (errnoOf(error) !== 'EBADF' && errnoOf(error) !== 'ENOENT') throw error;
    }
  }
}

/** Resolves when the descriptor is readable or writable, has failed or was hung up. Rejects with the signal's reason. */
export async function untilReady(
  poller: Poller,
  fd: number,
  { events, signal }: { readonly events: 'read' | 'write'; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  signal?.throwIfAborted();
  const ready = Promise.withResolvers<undefined>();
  const onAbort = (): void => ready.reject(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    using _watch = poller.watch(fd, events, () => ready.resolve(undefined));
    await ready.promise;
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
}

function notify(watched: Watched, mask: number): void {
  const failed = (mask & (EPOLLERR | EPOLLHUP)) !== 0;
  for (const watch of watched.watches) {
    const wanted = failed || (mask & watch.mask) !== 0;
    if (wanted && watched.watches.has(watch)) watch.callback();
  }
}
