/** The one place where the end of a container is seen, judged and recorded. */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ContainerId } from '../lib/ids.ts';
import { messageOf } from '../lib/errors.ts';
import type { MonitoredContainer } from '../oci/monitor.ts';
import type { Log } from '../telemetry/log.ts';
import {
  containerPaths,
  isAlive,
  type Container,
  type ContainerState,
  type ExitReason,
} from './container.ts';
import type { ContainerDeps } from './deps.ts';
import { releaseProcesses } from './release.ts';

const retryMs = 1000;

/** The end of a container's first process, as the driver reports it. */
export interface ObservedExit {
  readonly id: ContainerId;
  readonly exitCode: number;
  readonly finishedAtMs: number;
  /** Set when the code is not the process's own word: the monitor died, or the node was restarted. */
  readonly doubt?: string | undefined;
}

/** What tells of exits: conmon's exit files and pidfds. */
export interface ExitSource {
  watch(id: ContainerId, processes: MonitoredContainer): void;
  forget(id: ContainerId): void;
  subscribe(listener: (exit: ObservedExit) => void): Disposable;
}

export class ContainerExits implements Disposable {
  readonly #source: ExitSource;
  readonly #deps: () => ContainerDeps;
  readonly #log: Log;
  readonly #subscription: Disposable;
  readonly #ended = new Map<ContainerId, PromiseWithResolvers<void>>();
  readonly #closing = new AbortController();

  /** `deps` is a function: the operations on containers need the exits, and the exits need those operations. */
  constructor(source: ExitSource, deps: () => ContainerDeps, log: Log) {
    this.#source = source;
    this.#deps = deps;
    this.#log = log;
    this.#subscription = source.subscribe((exit) => void this.#onExit(exit));
  }

  watch(id: ContainerId, processes: MonitoredContainer): void {
    if (!this.#ended.has(id)) this.#ended.set(id, Promise.withResolvers<void>());
    this.#source.watch(id, processes);
  }

  async whenEnded(id: ContainerId): Promise<void> {
    await this.#ended.get(id)?.promise;
  }

  forget(id: ContainerId): void {
    this.#source.forget(id);
    this.#ended.get(id)?.resolve();
    this.#ended.delete(id);
  }

  [Symbol.dispose](): void {
    this.#closing.abort();
    this.#subscription[Symbol.dispose]();
  }

  async #onExit(exit: ObservedExit): Promise<void> {
    while (!(await this.#isRecorded(exit)) && !this.#closing.signal.aborted)
      await sleep(retryMs, undefined, { ref: false, signal: this.#closing.signal }).catch(() => undefined);
    this.#ended.get(exit.id)?.resolve();
    this.#ended.delete(exit.id);
  }

  /** False if the end has to be recorded once more: nobody else would ever notice it again. */
  async #isRecorded(exit: ObservedExit): Promise<boolean> {
    const deps = this.#deps();
    try {
      await recordExit(deps, exit);
      return true;
    } catch (error) {
      const container = deps.store.get(exit.id);
      const isRecorded = container === undefined || !isAlive(container);
      this.#log.error(
        { container: exit.id, error: messageOf(error) },
        isRecorded
          ? 'the end of a container was not cleaned up; its removal tries again'
          : 'the end of a container could not be recorded; that is tried again',
      );
      return isRecorded;
    }
  }
}

/** Records the end under the container's lock, so that a start that is still being answered is seen first. */
async function recordExit(deps: ContainerDeps, exit: ObservedExit): Promise<void> {
  using _ = await deps.store.locks.acquire(exit.id);
  const container = deps.store.get(exit.id);
  if (container === undefined || !isAlive(container)) return;
  const state = judge(container, exit, wasOomKilled(deps, container));
  const exited = deps.store.update(exit.id, (old) => ({ ...old, state }));
  try {
    await releaseProcesses(deps, exited);
  } finally {
    deps.store.events.emit({ kind: 'stopped', container: exited });
  }
}

/** systemd removes an empty scope at once: then the monitor's word counts, which watched its memory.events. */
function wasOomKilled(
  deps: Pick<ContainerDeps, 'cgroups' | 'stateDirectory'>,
  { id, cgroupsPath }: Container,
): boolean {
  const seen = deps.cgroups.wasOomKilled(cgroupsPath);
  return seen ?? existsSync(`${containerPaths(deps.stateDirectory, id).bundle}/oom`);
}

function judge({ state }: Container, exit: ObservedExit, isOom: boolean): ContainerState {
  return {
    name: 'exited',
    ...(state.name === 'running' ? { startedAtNs: state.startedAtNs } : {}),
    finishedAtNs: String(BigInt(Math.round(exit.finishedAtMs)) * 1_000_000n),
    exitCode: exit.exitCode,
    reason: reasonOf(exit, isOom),
    message: exit.doubt ?? '',
  };
}

function reasonOf({ exitCode, doubt }: ObservedExit, isOom: boolean): ExitReason {
  if (isOom && exitCode !== 0) return 'OOMKilled';
  if (doubt !== undefined) return 'ContainerStatusUnknown';
  return exitCode === 0 ? 'Completed' : 'Error';
}
