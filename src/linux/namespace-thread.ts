/**
 * The door into network, IPC and UTS namespaces: one worker thread that alone calls unshare and setns. The main thread never leaves the
 * host's namespaces. What is opened inside (a netlink socket, a TCP socket) stays bound to its namespace and is used from the main thread.
 */
import { closeSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import { EngineError } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';
import { leaveBehindAtExit, waitForAtExit } from './hung-threads.ts';
import {
  fromPlainError,
  type NamespaceOutcome,
  type NamespaceReply,
  type NamespaceRequest,
  type NamespaceResult,
  type NamespaceWorkerData,
} from './namespace-requests.ts';
import { type NamespaceKind, parseSysctl } from './sysctl.ts';
import { workerUrl } from './worker-url.ts';

export interface PinRequest {
  /** Only these are made; a shared or host namespace is not named here. */
  readonly kinds: readonly NamespaceKind[];
  /** Made if missing. The namespaces are bind-mounted to `<directory>/<kind>`, which must not exist. */
  readonly directory: string;
  /** At most 64 bytes; needs `uts` among the kinds. */
  readonly hostname?: string | undefined;
  /** Each must belong to one of the kinds. */
  readonly sysctls?: Readonly<Record<string, string>> | undefined;
  /** Pins the namespaces of this process, and its user namespace as `<directory>/user`, instead of making new ones. */
  readonly ofProcess?: number | undefined;
}

export interface SocketRequest {
  readonly family: number;
  /** With SOCK_NONBLOCK where wanted; SOCK_CLOEXEC is added. */
  readonly type: number;
  readonly protocol: number;
}

interface Waiting {
  readonly request: NamespaceRequest;
  readonly resolve: (result: NamespaceResult) => void;
  readonly reject: (error: Error) => void;
}

const maxHostnameBytes = 64;
const AF_NETLINK = 16;
const SOCK_RAW = 3;
const NETLINK_ROUTE = 0;
/** Many times what a busy node needs: the kernel takes seconds where it makes and ends many network namespaces at once. */
const defaultDeadlineMs = 60_000;
/** Hung threads that are put up with before calls are refused. */
const maxStuck = 8;

/** One thread and what tells it that it was given up. */
interface Hand extends NamespaceWorkerData {
  readonly worker: Worker;
}

export class NamespaceThread implements AsyncDisposable {
  readonly #deadlineMs: number;
  #hand: Hand | undefined;
  readonly #stuck = new Set<Worker>();
  #deadline: NodeJS.Timeout | undefined;
  /** The first is being worked on. One at a time: what the thread has not begun is never lost with it. */
  readonly #waiting: Waiting[] = [];
  #idle = Promise.withResolvers<void>();
  #closed = false;

  private constructor(deadlineMs: number) {
    this.#deadlineMs = deadlineMs;
    this.#hand = this.#startWorker();
  }

  /**
   * Starts the thread; it does not keep the process alive while nothing is asked of it. A call that has not ended by the
   * deadline fails with EngineError deadline-exceeded, and its thread is never used again: the next calls have a new one.
   */
  static async start(options: { readonly deadlineMs?: number } = {}): Promise<NamespaceThread> {
    // Makes libuv's pool now, from this thread. Made later from inside a pod's namespace, all its threads would stay there for good.
    await stat('/');
    return new NamespaceThread(options.deadlineMs ?? defaultDeadlineMs);
  }

  /**
   * Makes namespaces and pins them by bind mounts, so that they outlive every process; `lo` is up in a new network namespace.
   * Nothing is left behind on failure. Throws EngineError invalid-argument for a bad hostname or sysctl, SyscallError EEXIST where the
   * directory holds a pin already. Returns the path of each.
   */
  async pin<K extends NamespaceKind>(
    request: PinRequest & { kinds: readonly K[] },
  ): Promise<Record<K, string>> {
    const { kinds, directory, hostname, ofProcess } = request;
    checkHostname(hostname, kinds);
    const sysctls = Object.entries(request.sysctls ?? {}).map(([name, value]) => parseSysctl(name, value));
    for (const { name, kind } of sysctls) {
      const own = (kinds as readonly NamespaceKind[]).includes(kind);
      if (!own)
        throw new EngineError(
          'invalid-argument',
          `sysctl ${name}: the pod has no ${kind} namespace of its own`,
        );
    }
    if (kinds.length > 0 || ofProcess !== undefined)
      await this.#ask({ operation: 'pin', kinds, directory, hostname, sysctls, ofProcess });
    return Object.fromEntries(kinds.map((kind) => [kind, `${directory}/${kind}`])) as Record<K, string>;
  }

  /** Takes the pins away; the namespaces end with their last user. What is not there is no error. */
  async unpin(paths: readonly string[]): Promise<void> {
    if (paths.length > 0) await this.#ask({ operation: 'unpin', paths });
  }

  /** A route netlink socket that stays in the namespace. The caller closes it. */
  async openNetlink(netnsPath: string): Promise<number> {
    return await this.openSocket(netnsPath, { family: AF_NETLINK, type: SOCK_RAW, protocol: NETLINK_ROUTE });
  }

  /** A socket that stays in the namespace, close-on-exec. The caller closes it. */
  async openSocket(netnsPath: string, { family, type, protocol }: SocketRequest): Promise<number> {
    return await this.#open({ operation: 'open-socket', netnsPath, family, type, protocol });
  }

  /**
   * Opens a file for reading as it is seen from inside the namespace, `/proc/net/...` or `/proc/sys/net/...`, close-on-exec. It stays the
   * namespace's, and one of /proc/net keeps the namespace alive. The caller closes it.
   */
  async openFile(netnsPath: string, path: string): Promise<number> {
    // /proc/net is that of the process's main thread.
    const own = path.replace(/^\/proc\/(?:self\/)?net\//, '/proc/thread-self/net/');
    return await this.#open({ operation: 'open-file', netnsPath, path: own });
  }

  /**
   * Sets `net.*` parameters of the namespace, but for those that the kernel does not have or has read-only. Throws EngineError
   * invalid-argument for a name that is none, or a value that the kernel does not take.
   */
  async writeSysctls(netnsPath: string, values: Readonly<Record<string, string>>): Promise<void> {
    const sysctls = Object.entries(values).map(([name, value]) => parseSysctl(name, value));
    for (const { name, kind } of sysctls) {
      if (kind === 'net') continue;
      throw new EngineError('invalid-argument', `sysctl ${name} is not of a network namespace`);
    }
    await this.#ask({ operation: 'write-sysctls', netnsPath, sysctls });
  }

  /** Finishes what has been asked, then ends the thread. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      if (this.#waiting.length === 0) this.#idle.resolve();
    }
    await this.#idle.promise;
    await this.#hand?.worker.terminate();
  }

  async #open(request: Extract<NamespaceRequest, { readonly netnsPath: string }>): Promise<number> {
    const fd = await this.#ask(request);
    if (fd === undefined)
      throw new EngineError('internal', `${request.operation} ${request.netnsPath} gave no descriptor`);
    return fd;
  }

  async #ask(request: NamespaceRequest): Promise<NamespaceResult> {
    if (this.#closed) throw new EngineError('unavailable', 'the namespace thread has ended');
    const asked = Promise.withResolvers<NamespaceResult>();
    this.#waiting.push({ request, resolve: asked.resolve, reject: asked.reject });
    if (this.#waiting.length === 1) this.#send();
    return await asked.promise;
  }

  #send(): void {
    const [first] = this.#waiting;
    if (first === undefined) return;
    if (this.#stuck.size >= maxStuck) {
      this.#settle({
        ok: false,
        error: {
          kind: 'resource-exhausted',
          message: `${this.#stuck.size} calls hang in namespaces of pods`,
        },
      });
      return;
    }
    // Missing when the last one has failed.
    this.#hand ??= this.#startWorker();
    const hand = this.#hand;
    this.#deadline = setTimeout(() => this.#giveUp(hand, first.request), this.#deadlineMs);
    hand.worker.ref();
    hand.worker.postMessage(first.request);
  }

  #startWorker(): Hand {
    const isAbandoned = new Int32Array(new SharedArrayBuffer(4));
    const worker = new Worker(workerUrl('./namespace-thread.worker', import.meta.url), {
      name: 'gantry-netns',
      workerData: { isAbandoned } satisfies NamespaceWorkerData,
      execArgv: [],
    });
    worker.unref();
    worker.on('message', (reply: NamespaceReply) => {
      if (this.#stuck.has(worker)) return;
      if (reply.stranded) this.#hand = this.#startWorker();
      this.#settle(reply);
    });
    worker.on('error', (error: unknown) => {
      if (worker !== this.#hand?.worker) return;
      this.#hand = undefined;
      this.#settle({ ok: false, error: { message: `the namespace thread failed: ${String(error)}` } });
    });
    return { worker, isAbandoned };
  }

  /** The thread may still come back, from wherever it is; then it ends. */
  #giveUp({ worker, isAbandoned }: Hand, request: NamespaceRequest): void {
    Atomics.store(isAbandoned, 0, 1);
    this.#hand = undefined;
    this.#stuck.add(worker);
    worker.unref();
    leaveBehindAtExit(worker);
    worker.on('message', (reply: NamespaceReply) => {
      // Nobody is left to close what was opened too late.
      if (reply.ok && reply.result !== undefined) closeSync(reply.result);
      void worker.terminate();
    });
    worker.once('exit', () => {
      this.#stuck.delete(worker);
      waitForAtExit(worker);
    });
    const message = `${request.operation} ${placeOf(request)}: the kernel did not answer within ${this.#deadlineMs} ms`;
    this.#settle({ ok: false, error: { kind: 'deadline-exceeded', message } });
  }

  #settle(outcome: NamespaceOutcome): void {
    clearTimeout(this.#deadline);
    const done = this.#waiting.shift();
    if (outcome.ok) done?.resolve(outcome.result);
    else done?.reject(fromPlainError(outcome.error));
    if (this.#waiting.length > 0) this.#send();
    else {
      this.#hand?.worker.unref();
      if (this.#closed) this.#idle.resolve();
    }
  }
}

function placeOf(request: NamespaceRequest): string {
  if (request.operation === 'pin') return request.directory;
  return request.operation === 'unpin' ? request.paths.join(', ') : request.netnsPath;
}

function checkHostname(hostname: string | undefined, kinds: readonly NamespaceKind[]): void {
  if (hostname === undefined) return;
  if (!kinds.includes('uts')) {
    throw new EngineError(
      'invalid-argument',
      `hostname ${quote(hostname)}: the pod has no uts namespace of its own`,
    );
  }
  if (hostname === '' || Buffer.byteLength(hostname) > maxHostnameBytes || /[\s\p{Cc}/]/u.test(hostname)) {
    throw new EngineError('invalid-argument', `${quote(hostname)} is not a hostname`);
  }
}
