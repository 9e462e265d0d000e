/** The descriptors that a process is started with, and our ends of its pipes. */
import { closeSync } from 'node:fs';
import { createPipe } from './pipe.ts';

/**
 * Pipes to one process, made before it is started. Disposing closes what is the process's (it has copies by then) and, unless
 * `handOver` was called, our ends too: running out of descriptors half way loses none.
 */
export class ChildPipes implements Disposable {
  readonly #theirs = new Map<number, number>();
  readonly #closing = new DisposableStack();
  readonly #ours = new DisposableStack();

  /** Descriptor in the process -> ours. */
  get fds(): ReadonlyMap<number, number> {
    return this.#theirs;
  }

  /** A pipe that the process writes into by its descriptor `fd`; gives the end that we read. */
  output(fd: number): number {
    const { read, write } = createPipe();
    this.#ours.defer(() => closeSync(read));
    this.give(fd, write);
    return read;
  }

  /** A pipe that the process reads from by its descriptor `fd`; gives the end that we write. */
  input(fd: number): number {
    const { read, write } = createPipe();
    this.#ours.defer(() => closeSync(write));
    this.give(fd, read);
    return write;
  }

  /** Gives an open file to the process as its descriptor `fd`. */
  give(fd: number, file: number): void {
    this.#theirs.set(fd, file);
    this.#closing.defer(() => closeSync(file));
  }

  /** From here on our ends belong to the caller: for right after the start, when their new owners are made. */
  handOver(): void {
    this.#ours.move();
  }

  [Symbol.dispose](): void {
    this.#closing.dispose();
    this.#ours.dispose();
  }
}
