import { Socket } from 'node:net';

const maxLineBytes = 64 * 1024;

/** Lines out of a pipe, each asked for; a line that is too long ends it. */
export class LinePipe implements Disposable {
  readonly #socket: Socket;
  readonly #lines: string[] = [];
  #rest = Buffer.alloc(0);
  #ended = false;
  #waiting: ((line: string | undefined) => void) | undefined;

  constructor(fd: number) {
    this.#socket = new Socket({ fd, readable: true, writable: false });
    this.#socket.on('data', (chunk: Buffer) => this.#take(chunk));
    this.#socket.on('error', () => undefined);
    this.#socket.on('close', () => {
      this.#ended = true;
      this.#hand();
    });
  }

  /** undefined at the end of the pipe. One reader at a time. */
  async next(): Promise<string | undefined> {
    return await new Promise((resolve) => {
      this.#waiting = resolve;
      this.#hand();
    });
  }

  #take(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    for (let end = this.#rest.indexOf(10); end !== -1; end = this.#rest.indexOf(10)) {
      this.#lines.push(this.#rest.toString('utf8', 0, end));
      this.#rest = this.#rest.subarray(end + 1);
    }
    if (this.#rest.length > maxLineBytes) this.#socket.destroy();
    this.#hand();
  }

  #hand(): void {
    if (this.#waiting === undefined) return;
    const line = this.#lines.shift();
    if (line === undefined && !this.#ended) return;
    const hand = this.#waiting;
    this.#waiting = undefined;
    hand(line);
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}
