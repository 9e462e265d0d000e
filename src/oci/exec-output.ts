import { Socket } from 'node:net';
import { PassThrough } from 'node:stream';

// Something that keeps writing into the pipe after the process has ended is cut off then.
const maxDrainMs = 1000;

/**
 * One output of a process, out of a pipe. The stream ends when the pipe does, or, after `finish`, as soon as the pipe is empty: a
 * process left behind may hold the pipe for ever.
 */
export class OutputPipe {
  readonly stream = new PassThrough();
  readonly #socket: Socket;
  #reads = 0;

  constructor(fd: number) {
    this.#socket = new Socket({ fd, readable: true, writable: false });
    this.#socket.on('data', () => (this.#reads += 1));
    this.#socket.on('error', () => this.stream.end());
    this.#socket.pipe(this.stream);
    // A reader that leaves: the process gets SIGPIPE at its next write, as it would in a shell.
    this.stream.on('close', () => this.#socket.destroy());
  }

  /** To be called at the end of the process: reads what is in the pipe and ends the stream. Waits for a slow reader. */
  async finish(): Promise<void> {
    let deadline = Date.now() + maxDrainMs;
    for (
      let before = -1, idle = 0;
      idle < 2 && Date.now() < deadline;
      idle = this.#reads === before ? idle + 1 : 0
    ) {
      if (this.#socket.destroyed || this.#socket.readableEnded || this.stream.destroyed) return;
      if (this.stream.writableNeedDrain) {
        await untilWritable(this.stream);
        deadline = Date.now() + maxDrainMs;
      }
      before = this.#reads;
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#socket.unpipe(this.stream);
    this.#socket.destroy();
    this.stream.end();
  }
}

async function untilWritable(stream: PassThrough): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = (): void => {
      stream.off('drain', done);
      stream.off('close', done);
      resolve();
    };
    stream.on('drain', done);
    stream.on('close', done);
  });
}
