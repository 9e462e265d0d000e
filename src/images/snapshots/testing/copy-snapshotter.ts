/** The second implementation of the contract: GNU tar and plain copies, sharing no code with the overlay one. */
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import { EngineError } from '../../../lib/errors.ts';
import type { ChainId, ContainerId } from '../../../lib/ids.ts';
import { runCommand } from '../../../linux/command.ts';
import { bindMount, unmount } from '../../../linux/mount.ts';
import { diffIdOf } from '../../layers/testing/tar-build.ts';
import type { Snapshotter } from './snapshotter.contract.ts';

export class CopySnapshotter implements Snapshotter {
  readonly #root: string;
  readonly #layers = new Map<ChainId, string>();
  readonly #chains = new Map<ContainerId, string>();
  readonly #readOnly = new Map<string, readonly ChainId[]>();

  constructor(root: string) {
    this.#root = root;
  }

  async addLayer(tar: Buffer, below: readonly ChainId[]): Promise<ChainId> {
    const chainId = diffIdOf(Buffer.concat([tar, Buffer.from(below.join())])) as string as ChainId;
    const layer = this.newDirectory();
    await runCommand(['tar', '-x', '-p', '--numeric-owner', '-C', layer], { input: tar });
    this.#layers.set(chainId, layer);
    return chainId;
  }

  hasLayer(chainId: ChainId): boolean {
    return this.#layers.has(chainId);
  }

  async prepare(key: ContainerId, chainIds: readonly ChainId[]): Promise<string> {
    const layers = chainIds.map((chainId) => this.#layer(chainId));
    const present = this.#chains.get(key);
    if (present !== undefined && present !== chainIds.join()) throw new EngineError('already-exists', key);
    if (present === undefined) {
      mkdirSync(this.#path(key));
      for (const layer of layers) await addOver(this.#path(key), layer);
    }
    this.#chains.set(key, chainIds.join());
    return this.#path(key);
  }

  async unmount(): Promise<void> {}

  async remove(key: ContainerId): Promise<void> {
    this.#chains.delete(key);
    rmSync(this.#path(key), { recursive: true, force: true });
    await Promise.resolve();
  }

  async usage(key: ContainerId): Promise<{ bytes: number; inodes: number }> {
    if (!this.#chains.has(key)) throw new EngineError('not-found', key);
    await Promise.resolve();
    const files = readdirSync(this.#path(key), { recursive: true, encoding: 'utf8' });
    const blocks = files.map((name) => lstatSync(join(this.#path(key), name)).blocks);
    return { bytes: blocks.reduce((sum, count) => sum + count * 512, 0), inodes: files.length };
  }

  async mountReadOnly(chainIds: readonly ChainId[], target: string): Promise<void> {
    if (this.#readOnly.has(target)) return;
    const copy = this.newDirectory();
    for (const chainId of chainIds) await addOver(copy, this.#layer(chainId));
    bindMount(copy, target, { readOnly: true });
    this.#readOnly.set(target, chainIds);
  }

  async unmountReadOnly(target: string): Promise<void> {
    unmount(target);
    this.#readOnly.delete(target);
    await Promise.resolve();
  }

  async collect(keep: ReadonlySet<ChainId>): Promise<void> {
    const used = [...this.#chains.values()].join() + [...this.#readOnly.values()].flat().join();
    for (const chainId of this.#layers.keys()) {
      if (!keep.has(chainId) && !used.includes(chainId)) this.#layers.delete(chainId);
    }
    await Promise.resolve();
  }

  keys(): readonly ContainerId[] {
    return [...this.#chains.keys()];
  }

  newDirectory(): string {
    return mkdtempSync(join(this.#root, 'directory-'));
  }

  #layer(chainId: ChainId): string {
    const layer = this.#layers.get(chainId);
    if (layer === undefined) throw new EngineError('not-found', `no layer ${chainId}`);
    return layer;
  }

  #path(key: ContainerId): string {
    return join(this.#root, key);
  }
}

/** Removals first, for they speak of what is below only; then what the layer has, by `cp -a`. */
async function addOver(target: string, layer: string): Promise<void> {
  const names = readdirSync(layer, { recursive: true, encoding: 'utf8' });
  for (const name of names.filter((path) => /(?:^|\/)\.wh\.[^/]*$/.test(path))) {
    const [directory, base] = [join(target, name, '..'), name.slice(name.lastIndexOf('.wh.') + 4)];
    if (name.endsWith('.wh..wh..opq')) {
      const below = existsSync(directory) ? readdirSync(directory) : [];
      for (const child of below) rmSync(join(directory, child), { recursive: true });
    } else rmSync(join(directory, base), { recursive: true, force: true });
  }
  await overlay(target, layer, '');
  const root = lstatSync(layer);
  // mkdtemp's mode, unless the tar had an entry for the root.
  if ((root.mode & 0o7777) === 0o700) return;
  chownSync(target, root.uid, root.gid);
  chmodSync(target, root.mode);
}

async function overlay(target: string, layer: string, path: string): Promise<void> {
  for (const name of readdirSync(join(layer, path))) {
    if (name.startsWith('.wh.')) continue;
    const [from, to] = [join(layer, path, name), join(target, path, name)];
    const [own, present] = [lstatSync(from), lstatSync(to, { throwIfNoEntry: false })];
    if (own.isDirectory() && present?.isDirectory() === true) await overlay(target, layer, join(path, name));
    else {
      rmSync(to, { recursive: true, force: true });
      await runCommand(['cp', '-a', from, to]);
      await runCommand(['find', to, '-name', '.wh.*', '-delete']);
    }
  }
}
