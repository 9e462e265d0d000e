/**
 * A layer may hold `a/b` without an entry for `a`. Layers are unpacked apart, so `a` was made with a plain mode; over
 * the layers below it would then hide how their `a` looks (`/tmp` would lose its sticky bit). Once all layers of a
 * chain are there, such directories take mode, owner and time from the nearest layer below that has them.
 */
import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../../lib/errors.ts';
import { close, fchmod, fchown, futimens, openBeneath, pathDirectory } from '../../linux/at.ts';
import { nativeName } from './entry-name.ts';
import { readLayerRecord, writeLayerRecord } from './layer-record.ts';

/** `layerDirectories`: the chain, bottom first. Done twice it does nothing; a crash in between loses nothing. */
export function settleLayers(layerDirectories: readonly string[]): void {
  for (const [index, directory] of layerDirectories.entries()) {
    const record = readLayerRecord(directory);
    if (record === undefined || record.impliedDirectories.length === 0) continue;
    const below = layerDirectories.slice(0, index).toReversed();
    settle(directory, below, record.impliedDirectories);
    writeLayerRecord(directory, { ...record, impliedDirectories: [] });
  }
}

function settle(directory: string, below: readonly string[], paths: readonly string[]): void {
  using roots = new DisposableStack();
  const open = (layer: string): number => {
    const fd = openSync(join(layer, 'fs'), pathDirectory);
    roots.defer(() => closeSync(fd));
    return fd;
  };
  const rootFd = open(directory);
  const lowerFds = below.map(open);
  for (const path of paths) settleDirectory(rootFd, lowerFds, path);
}

function settleDirectory(rootFd: number, lowerFds: readonly number[], path: string): void {
  const fd = openDirectory(rootFd, path);
  if (fd === undefined) return;
  try {
    for (const lowerFd of lowerFds) {
      const model = openDirectory(lowerFd, path);
      if (model === undefined) continue;
      copyLook(model, fd);
      close(model);
      return;
    }
  } finally {
    close(fd);
  }
}

function copyLook(from: number, to: number): void {
  const status = fstatSync(from);
  fchown(to, status.uid, status.gid);
  fchmod(to, status.mode & 0o7777);
  futimens(to, { seconds: Math.floor(status.mtimeMs / 1000), nanoseconds: 0 });
}

function openDirectory(rootFd: number, path: string): number | undefined {
  try {
    return openBeneath(
      rootFd,
      nativeName(path),
      constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW,
    );
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'EXDEV'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}
