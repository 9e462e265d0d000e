import type { Worker } from 'node:worker_threads';

interface IdleThread {
  readonly worker: Worker;
  readonly timer: NodeJS.Timeout;
}

/**
 * Threads that wait for their next work, and end after a while without: each takes several megabytes. They do not keep the process
 * from exiting. The one that was used last is the next, so that the others come to their end.
 */
export class IdleThreads {
  readonly #idleMs: number;
  readonly #threads: IdleThread[] = [];

  constructor(idleMs: number) {
    this.#idleMs = idleMs;
  }

  get count(): number {
    return this.#threads.length;
  }

  take(): Worker | undefined {
    const idle = this.#threads.pop();
    clearTimeout(idle?.timer);
    idle?.worker.ref();
    return idle?.worker;
  }

  keep(worker: Worker): void {
    worker.unref();
    const end = (): void => {
      this.#threads.splice(this.#threads.indexOf(idle), 1);
      void worker.terminate();
    };
    const idle: IdleThread = { worker, timer: setTimeout(end, this.#idleMs).unref() };
    this.#threads.push(idle);
  }

  async endAll(): Promise<void> {
    const ended = this.#threads.splice(0);
    for (const { timer } of ended) clearTimeout(timer);
    await Promise.all(ended.map(async ({ worker }) => await worker.terminate()));
  }
}
