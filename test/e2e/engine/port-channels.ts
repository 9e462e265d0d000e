/** A client of port-forward over WebSocket with channels, version 4: two for each port. */
import { once } from 'node:events';
import { WebSocket } from 'ws';

export class PortChannels implements Disposable {
  readonly #socket: WebSocket;
  readonly #chunks = new Map<number, Buffer[]>();
  readonly #lengths = new Map<number, number>();
  readonly #closed: Promise<number>;
  readonly #waiting = new Set<() => void>();

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    this.#closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => undefined);
    socket.on('message', (message: Buffer) => {
      const [channel = 255] = message;
      const chunks = this.#chunks.get(channel) ?? [];
      chunks.push(message.subarray(1));
      this.#chunks.set(channel, chunks);
      this.#lengths.set(channel, (this.#lengths.get(channel) ?? 0) + message.length - 1);
      for (const look of this.#waiting) look();
    });
  }

  /** @throws Error with the HTTP status when the upgrade is refused */
  static async open(url: string, protocol = 'v4.channel.k8s.io'): Promise<PortChannels> {
    const socket = new WebSocket(url.replace(/^http/, 'ws'), [protocol]);
    const client = new PortChannels(socket);
    await once(socket, 'open');
    return client;
  }

  /** Sends to the `place`-th port. Resolves when it has left this process. */
  async write(place: number, data: Buffer): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const message = Buffer.concat([Buffer.from([2 * place]), data]);
    this.#socket.send(message, (error) => (error ? reject(error) : resolve()));
    await promise;
  }

  /** What came from the `place`-th port, once it is that many bytes or the connection has ended. */
  async read(place: number, bytes: number): Promise<Buffer> {
    await this.#until(() => (this.#lengths.get(2 * place) ?? 0) >= bytes + 2);
    return this.#of(2 * place).subarray(2);
  }

  /** The `place`-th port as the server says it, on both channels, and what it says went wrong. */
  async said(place: number): Promise<{ readonly ports: readonly number[]; readonly error: string }> {
    await this.#until(() => [0, 1].every((which) => this.#of(2 * place + which).length >= 2));
    const [data, errors] = [this.#of(2 * place), this.#of(2 * place + 1)];
    return { ports: [data.readUInt16LE(), errors.readUInt16LE()], error: errors.subarray(2).toString() };
  }

  /** The status code with which the connection is closed. */
  async closed(): Promise<number> {
    return await this.#closed;
  }

  /** Breaks the connection off, without a goodbye. */
  [Symbol.dispose](): void {
    this.#socket.terminate();
  }

  async #until(isThere: () => boolean): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const look = (): void => void (isThere() && resolve());
    this.#waiting.add(look);
    look();
    await Promise.race([promise, this.#closed]);
    this.#waiting.delete(look);
  }

  #of(channel: number): Buffer {
    return Buffer.concat(this.#chunks.get(channel) ?? []);
  }
}
