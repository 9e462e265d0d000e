/** A client of the remote command protocol over WebSocket, version 5, as kubectl speaks it. */
import { once } from 'node:events';
import { WebSocket } from 'ws';

const channels = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const;

/** The `metav1.Status` of the error channel. */
export interface RemoteStatus {
  readonly status: 'Success' | 'Failure';
  readonly message?: string;
  readonly reason?: string;
  readonly details?: { readonly causes: readonly { readonly reason: string; readonly message: string }[] };
}

export class RemoteCommand implements Disposable {
  readonly #socket: WebSocket;
  readonly #chunks = new Map<number, Buffer[]>();
  readonly #closed: Promise<void>;
  #onMessage = (): void => undefined;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    this.#closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.on('error', () => undefined);
    socket.on('message', (message: Buffer) => {
      const [channel = channels.close] = message;
      const chunks = this.#chunks.get(channel) ?? [];
      chunks.push(message.subarray(1));
      this.#chunks.set(channel, chunks);
      this.#onMessage();
    });
  }

  /** @throws Error with the HTTP status when the upgrade is refused */
  static async open(url: string, protocol = 'v5.channel.k8s.io'): Promise<RemoteCommand> {
    const socket = new WebSocket(url.replace(/^http/, 'ws'), [protocol]);
    const command = new RemoteCommand(socket);
    await once(socket, 'open');
    return command;
  }

  get stdout(): Buffer {
    return this.#of(channels.stdout);
  }

  get stderr(): Buffer {
    return this.#of(channels.stderr);
  }

  /** Resolves when it has left this process: the next one waits for a slow reader. */
  async write(data: Buffer | string): Promise<void> {
    await this.#send(channels.stdin, Buffer.from(data));
  }

  /** The end of its input, while its output goes on. */
  async closeStdin(): Promise<void> {
    await this.#send(channels.close, Buffer.from([channels.stdin]));
  }

  async resize(columns: number, rows: number): Promise<void> {
    await this.#send(channels.resize, Buffer.from(JSON.stringify({ Width: columns, Height: rows })));
  }

  /** Waits until what it said on stdout matches. @throws Error when the connection ends before */
  async untilStdout(pattern: RegExp): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#onMessage = () => pattern.test(this.stdout.toString()) && resolve();
    this.#onMessage();
    void this.#closed.then(() => reject(new Error(`ended after: ${this.stdout.toString()}`)));
    await promise;
  }

  /** How it ended, once the connection is closed; undefined if the server did not say. */
  async ended(): Promise<RemoteStatus | undefined> {
    await this.#closed;
    const text = this.#of(channels.error).toString();
    return text === '' ? undefined : (JSON.parse(text) as RemoteStatus);
  }

  /** Breaks the connection off, without a goodbye. */
  [Symbol.dispose](): void {
    this.#socket.terminate();
  }

  #of(channel: number): Buffer {
    return Buffer.concat(this.#chunks.get(channel) ?? []);
  }

  async #send(channel: number, data: Buffer): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#socket.send(Buffer.concat([Buffer.from([channel]), data]), (error) =>
      error instanceof Error ? reject(error) : resolve(),
    );
    await promise;
  }
}
