/** What a checkpointed container had written and deleted, as layers upon its image. */
import { mkdirSync, writeFileSync, existsSync, rmSync } from 'node:fs';
import { basename, dirname, join, posix } from 'node:path';
import { z } from 'zod';
import { EngineError } from '../../lib/errors.ts';
import { quote, type ChainId } from '../../lib/ids.ts';
import { runCommand } from '../../linux/command.ts';
import type { ContainerDeps } from '../deps.ts';
import { archiveFiles } from './archive-files.ts';
import { type CheckpointSource, readDescription } from './open-source.ts';

const timeoutMs = 10 * 60_000;
const deletedSchema = z.array(z.string().min(1).max(4096)).max(1_000_000);

/** The chain of the image and what the checkpoint brings, bottom first. @throws EngineError as unpacking an image's layer does */
export async function addRestoredLayers(
  deps: ContainerDeps,
  { directory, image }: CheckpointSource,
  signal: AbortSignal,
): Promise<readonly ChainId[]> {
  const paths = [join(directory, archiveFiles.rootChanges), await whiteouts(directory, signal)];
  return await deps.checkpoints.layers.add(
    image.id,
    paths.filter((path) => path !== undefined && existsSync(path)).map(String),
    signal,
  );
}

/** Deleted files as a layer of whiteouts. undefined when there are none. */
async function whiteouts(directory: string, signal: AbortSignal): Promise<string | undefined> {
  if (!existsSync(join(directory, archiveFiles.deletedFiles))) return undefined;
  const deleted = readDescription(directory, archiveFiles.deletedFiles, deletedSchema.nullable()) ?? [];
  if (deleted.length === 0) return undefined;
  const tree = join(directory, 'whiteouts');
  mkdirSync(tree, { mode: 0o700 });
  const names = deleted.map((path) => whiteoutOf(tree, path));
  const list = join(directory, 'whiteouts.list');
  writeFileSync(list, names.map((name) => `./${name}\0`).join(''), { mode: 0o600 });
  const file = join(directory, 'whiteouts.tar');
  const options = [
    '--no-recursion',
    '--null',
    '--verbatim-files-from',
    `--files-from=${list}`,
    '--format=pax',
  ];
  const argv = ['tar', '--create', `--file=${file}`, '--force-local', `--directory=${tree}`, ...options];
  await runCommand(argv, { check: true, timeoutMs, signal });
  rmSync(tree, { recursive: true });
  return file;
}

/** Makes the marker; its name relative to the tree. */
function whiteoutOf(tree: string, path: string): string {
  const place = posix.normalize(`/${path}`).slice(1);
  if (place === '' || /[\0]/.test(place) || basename(place).startsWith('.wh.'))
    throw new EngineError(
      'invalid-argument',
      `the checkpoint’s ${archiveFiles.deletedFiles}: ${quote(path)}`,
    );
  const name = join(dirname(place), `.wh.${basename(place)}`);
  mkdirSync(join(tree, dirname(name)), { recursive: true, mode: 0o700 });
  writeFileSync(join(tree, name), '');
  return name;
}
