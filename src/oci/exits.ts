/**
 * Ends of containers. conmon writes `<exit directory>/<container id>` with the exit code; the files stay until they are
 * forgotten, so that a daemon that was not there learns of every end by scanning. A container whose conmon died first is
 * watched by its own pidfd.
 */
import { type FSWatcher, readdirSync, readFileSync, rmSync, statfsSync, statSync, watch } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { EventSource } from '../lib/events.ts';
import { openProcess, signalProcess, watchExit } from '../linux/pidfd.ts';
import { close } from '../linux/libc.ts';
import type { Poller } from '../linux/poll.ts';
import { outsideRequest } from '../telemetry/traces/phase.ts';
import type { MonitoredContainer, StoredProcess } from './monitor.ts';

/** One end of a container. */
export interface ContainerExit {
  readonly id: string;
  readonly exitCode: number;
  readonly finishedAtMs: number;
  /** Set when the exit code is not the process's own: why it is unknown. */
  readonly lostReason?: string;
}

/** The exit code that is told when nobody was there to learn the real one. */
const unknownExitCode = 255;
const lostReason = 'the monitor process died before the container, its exit code is unknown';
const unwrittenReason =
  'the monitor process could not write the exit code, which is unknown: its directory is full';
const hungReason = 'the monitor process did not tell the exit code, and was killed';
/** A monitor writes the exit file within milliseconds; less than a stop waits after SIGKILL. */
const monitorGraceMs = 20_000;

const idPattern = /^[0-9a-zA-Z_-]+$/;
// A whole file is renamed into place, yet has been seen empty: it is then read again, without a further event.
const emptyRetryMs = 2;
const emptyRetries = 500;

export class ExitWatcher implements Disposable {
  readonly exits: EventSource<ContainerExit>;
  readonly #directory: string;
  readonly #poller: Poller;
  readonly #onError: (error: unknown) => void;
  readonly #reported = new Set<string>();
  readonly #tracked = new Map<string, MonitoredContainer>();
  /** Containers whose monitor we killed. */
  readonly #hung = new Set<string>();
  readonly #graceMs: number;
  #watcher: FSWatcher | undefined;
  readonly #close = new AbortController();

  /** `onError` hears what goes wrong while watching; the watcher itself goes on. */
  constructor(
    deps: { readonly poller: Poller; readonly onError: (error: unknown) => void },
    directory: string,
    graceMs = monitorGraceMs,
  ) {
    this.#graceMs = graceMs;
    this.#poller = deps.poller;
    this.#onError = deps.onError;
    this.#directory = directory;
    this.exits = new EventSource(deps.onError);
  }

  /** Reports the ends that are already there, then every new one, each once. Subscribe first. */
  start(): void {
    this.#watcher = watch(this.#directory, { persistent: false }, (_event, name) => {
      if (name !== null) this.#look(basename(name), 0);
      // An overflow of the kernel's queue comes without a name.
      else this.#scan();
    });
    this.#watcher.on('error', this.#onError);
    this.#scan();
  }

  /**
   * Watches a container's monitor too: when it is gone without an exit file, the container's own process is awaited and its end is
   * reported as lost. A monitor that hangs is killed some time after the container's end: nobody could stop or remove the
   * container otherwise. Call it for every container that is created or found alive at start.
   */
  track(id: string, processes: MonitoredContainer): void {
    this.#tracked.set(id, processes);
    outsideRequest(() => {
      this.#report(this.#follow(id, processes));
      this.#report(this.#endHungMonitor(id, processes));
    });
  }

  /** Deletes the exit file and all memory of the container. Idempotent. */
  forget(id: string): void {
    this.#tracked.delete(id);
    this.#reported.delete(id);
    this.#hung.delete(id);
    rmSync(`${this.#directory}/${id}`, { force: true });
  }

  #report(work: Promise<void>): void {
    work.catch((error: unknown) => {
      if (!this.#close.signal.aborted) this.#onError(error);
    });
  }

  #scan(): void {
    try {
      for (const name of readdirSync(this.#directory)) this.#look(name, 0);
    } catch (error) {
      this.#onError(error);
    }
  }

  #look(id: string, attempt: number): void {
    // conmon's temporary files have a dot in their names.
    if (this.#close.signal.aborted || this.#reported.has(id) || !idPattern.test(id)) return;
    const found = readExitFile(`${this.#directory}/${id}`);
    if (found === 'absent') return;
    if (found === 'empty' && attempt < emptyRetries) {
      setTimeout(() => this.#look(id, attempt + 1), emptyRetryMs).unref();
      return;
    }
    if (found === 'empty')
      this.#emit({
        id,
        exitCode: unknownExitCode,
        finishedAtMs: Date.now(),
        lostReason: 'the exit file is empty',
      });
    else this.#emit({ id, ...found });
  }

  #emit(exit: ContainerExit): void {
    if (this.#close.signal.aborted || this.#reported.has(exit.id)) return;
    this.#reported.add(exit.id);
    this.#tracked.delete(exit.id);
    this.exits.emit(exit);
  }

  async #follow(id: string, processes: MonitoredContainer): Promise<void> {
    await this.#ended(processes.monitor);
    if (!this.#isOpen(id, processes)) return;
    // The monitor writes the file before it ends; its event may still be on the way.
    this.#look(id, 0);
    if (!this.#isOpen(id, processes) || readExitFile(`${this.#directory}/${id}`) !== 'absent') return;
    await this.#ended(processes.process);
    if (!this.#isOpen(id, processes)) return;
    const reason = this.#hung.has(id) ? hungReason : this.#isFull() ? unwrittenReason : lostReason;
    this.#emit({ id, exitCode: unknownExitCode, finishedAtMs: Date.now(), lostReason: reason });
  }

  async #endHungMonitor(id: string, processes: MonitoredContainer): Promise<void> {
    await this.#ended(processes.process);
    if (!this.#isOpen(id, processes)) return;
    await sleep(this.#graceMs, undefined, { signal: this.#close.signal, ref: false });
    if (!this.#isOpen(id, processes)) return;
    const { pid, startTicks } = processes.monitor;
    this.#hung.add(id);
    signalProcess({ pid, startTicks: BigInt(startTicks) }, 'SIGKILL');
  }

  /** Whether the directory has no room for an exit file. */
  #isFull(): boolean {
    const { bavail, files, ffree } = statfsSync(this.#directory);
    return bavail === 0 || (files > 0 && ffree === 0);
  }

  #isOpen(id: string, processes: MonitoredContainer): boolean {
    return !this.#close.signal.aborted && this.#tracked.get(id) === processes;
  }

  /** Resolves at once when that process is gone already: its pid may belong to another one by now. */
  async #ended({ pid, startTicks }: StoredProcess): Promise<void> {
    const pidfd = openProcess({ pid, startTicks: BigInt(startTicks) });
    if (pidfd === undefined) return;
    try {
      await watchExit(pidfd, this.#poller, this.#close.signal);
    } finally {
      close(pidfd);
    }
  }

  [Symbol.dispose](): void {
    this.#close.abort();
    this.#watcher?.close();
  }
}

type ExitFile = 'absent' | 'empty' | { readonly exitCode: number; readonly finishedAtMs: number };

function readExitFile(path: string): ExitFile {
  try {
    const text = readFileSync(path, 'utf8').trim();
    if (!/^-?\d{1,10}$/.test(text)) return 'empty';
    const code = Number(text);
    return { exitCode: code < 0 ? unknownExitCode : code, finishedAtMs: statSync(path).mtimeMs };
  } catch {
    return 'absent';
  }
}
