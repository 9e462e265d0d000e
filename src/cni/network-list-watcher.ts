import { statSync, watch, type FSWatcher } from 'node:fs';
import { dirname, join } from 'node:path';
import { errnoOf, messageOf } from '../lib/errors.ts';
import { loadNetworkList, type LoadedNetworks } from './load-network-list.ts';

export interface WatchOptions {
  readonly directory: string;
  /** Called after each load that found something else than before. */
  readonly onChange: (loaded: LoadedNetworks) => void;
  /** Called once when the kernel refuses to watch: the directory is then read every few seconds. */
  readonly onPolling: (reason: string) => void;
}

const settleMs = 100;
const pollMs = 5000;

/**
 * Keeps the configuration directory loaded. The directory may not exist yet, may go and come back: its nearest
 * existing parent is watched then. The folder of the current network's own plugins is watched too.
 */
export class NetworkListWatcher implements Disposable {
  readonly #options: WatchOptions;
  #watchers: FSWatcher[] = [];
  #timer: NodeJS.Timeout | undefined;
  #isPolling = false;
  #isClosed = false;
  #loaded: LoadedNetworks;

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#loaded = loadNetworkList(options.directory);
    this.#arm();
    // What changed between the first look and the first watch.
    this.#loaded = loadNetworkList(options.directory);
  }

  get loaded(): LoadedNetworks {
    return this.#loaded;
  }

  /** Reads the directory now instead of when the kernel says that it changed. */
  reload(): void {
    const before = JSON.stringify(this.#loaded);
    this.#loaded = loadNetworkList(this.#options.directory);
    if (JSON.stringify(this.#loaded) !== before) this.#options.onChange(this.#loaded);
  }

  [Symbol.dispose](): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#disarm();
  }

  /** Watches first, so that nothing that happens after the load that follows is missed. */
  #arm(): void {
    this.#disarm();
    try {
      for (const path of this.#targets()) {
        const watcher = watch(path, { persistent: false }, () => this.#settle(settleMs));
        watcher.on('error', () => this.#settle(settleMs));
        this.#watchers.push(watcher);
      }
    } catch (error) {
      this.#disarm();
      // Gone between the look and the watch: look again. All else is a limit of inotify.
      if (errnoOf(error) !== 'ENOENT' && !this.#isPolling) {
        this.#isPolling = true;
        this.#options.onPolling(messageOf(error));
      }
      this.#settle(errnoOf(error) === 'ENOENT' ? settleMs : pollMs);
    }
  }

  #targets(): string[] {
    const { directory } = this.#options;
    const nearest = nearestExisting(directory);
    const own = this.#loaded.list === undefined ? undefined : join(directory, this.#loaded.list.name);
    return own !== undefined && isDirectory(own) ? [nearest, own] : [nearest];
  }

  #settle(delayMs: number): void {
    // Not started anew by each event: a busy parent directory must not put the load off for ever.
    if (this.#isClosed || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#arm();
      this.reload();
    }, delayMs).unref();
  }

  #disarm(): void {
    for (const watcher of this.#watchers) watcher.close();
    this.#watchers = [];
  }
}

function nearestExisting(path: string): string {
  for (let candidate = path; ; candidate = dirname(candidate)) {
    if (isDirectory(candidate) || candidate === '/') return candidate;
  }
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}
