/**
 * Connections that have not shown a token yet, or agreed on no protocol with it. Everybody on the node can open them, pods on the
 * host's network included: they must not use up the daemon's descriptors.
 */
import type { Duplex } from 'node:stream';

const maxWaiting = 256;
const waitMs = 10_000;

export class Strangers {
  /** Oldest first. */
  readonly #waiting = new Map<Duplex, NodeJS.Timeout>();

  /** The connection is closed if it is not served within ten seconds, or sooner when too many others come after it. */
  add(connection: Duplex): void {
    this.#waiting.set(
      connection,
      setTimeout(() => connection.destroy(), waitMs),
    );
    connection.once('close', () => this.delete(connection));
    const [oldest] = this.#waiting.keys();
    if (this.#waiting.size > maxWaiting && oldest !== undefined) {
      this.delete(oldest);
      oldest.destroy();
    }
  }

  /** It is being served, or has gone. */
  delete(connection: Duplex): void {
    clearTimeout(this.#waiting.get(connection));
    this.#waiting.delete(connection);
  }
}
