/**
 * A signal that aborts after a time. Disposing ends the timer: that of `AbortSignal.timeout` keeps what waits for it, and the request
 * around, until its time has come.
 */
export class Deadline implements Disposable {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;

  constructor(timeoutMs: number) {
    const late = new DOMException(`The operation took longer than ${timeoutMs} ms`, 'TimeoutError');
    this.#timer = setTimeout(() => this.#controller.abort(late), timeoutMs).unref();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
