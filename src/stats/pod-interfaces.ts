/**
 * The counters of pods' interfaces. Entering a network namespace takes half a millisecond, so each pod's /proc/net/dev is opened
 * inside it once and read from outside ever after: it shows all interfaces that the pod has by then, whoever made them.
 */
import { closeSync, readSync } from 'node:fs';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { type InterfaceCounters, parseNetworkCounters } from './network-counters.ts';

/** Some eight thousand interfaces; what a pod makes beyond that is not told. */
const maxBytes = 1024 * 1024;

/** Opens a file as it is seen from inside a network namespace; the caller closes it. */
type OpenInNetns = (netnsPath: string, path: string) => Promise<number>;

export class PodInterfaces implements Disposable {
  readonly #openInNetns: OpenInNetns;
  readonly #files = new Map<string, Promise<number>>();
  readonly #buffer = Buffer.allocUnsafeSlow(64 * 1024);

  constructor(openInNetns: OpenInNetns) {
    this.#openInNetns = openInNetns;
  }

  /** Those of the pod's own network, without loopback; none for a pod in the node's network, and for one that is being stopped. */
  async read({ id, state }: Sandbox): Promise<InterfaceCounters[]> {
    const netns = state.name === 'ready' ? state.namespaces.net : undefined;
    if (netns === undefined) return [];
    const file = this.#files.get(id) ?? this.#openInNetns(netns, '/proc/net/dev');
    this.#files.set(id, file);
    try {
      const fd = await file;
      // Released meanwhile, the number may be another file's.
      return this.#files.get(id) === file ? parseNetworkCounters(this.#readAll(fd)) : [];
    } catch {
      // The pod is being stopped: its other numbers are still worth telling.
      if (this.#files.get(id) === file) this.release(id);
      return [];
    }
  }

  /**
   * Closes what keeps the network namespace of a pod alive. To be called when the pod's namespaces have been unpinned, so that
   * none is opened again.
   */
  release(id: string): void {
    const file = this.#files.get(id);
    this.#files.delete(id);
    file?.then(closeSync).catch(() => undefined);
  }

  [Symbol.dispose](): void {
    for (const id of this.#files.keys()) this.release(id);
  }

  /** Reads from the start, without moving the file's position. */
  #readAll(fd: number): string {
    let text = '';
    for (let position = 0; position < maxBytes;) {
      // Whole lines: the kernel cuts none that fits the buffer.
      const size = readSync(fd, this.#buffer, 0, this.#buffer.length, position);
      if (size === 0) break;
      text += this.#buffer.toString('utf8', 0, size);
      position += size;
    }
    return text;
  }
}
