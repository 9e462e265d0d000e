/** What a checkpointed container had written and deleted, as layers upon its image. */
import { existsSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, posix } from 'node:path';
import { z } from 'zod';
import { EngineError } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import { runCommand } from '../../linux/command.ts';
import { archiveFiles } from './archive-files.ts';
import { nameOfText } from './byte-names.ts';
import { readDescription } from './read-description.ts';

const timeoutMs = 10 * 60_000;
const deletedSchema = z.array(z.string().min(1).max(4096));
/** Of the directories in which files were deleted: a few kilobytes of names could ask for millions. */
const maxDirectories = 10_000;
/** As deep as what was deleted is looked for. */
const maxDepth = 256;
const marker = '.wh.';
const maxNameBytes = 255 - marker.length;

/** The tars of the layers that a checkpoint in `directory` brings beyond its image, bottom first. @throws EngineError invalid-argument */
export async function restoredLayers(directory: string, signal: AbortSignal): Promise<readonly string[]> {
  const changes = join(directory, archiveFiles.rootChanges);
  const deleted = await whiteouts(directory, signal);
  return [...(existsSync(changes) ? [changes] : []), ...(deleted === undefined ? [] : [deleted])];
}

/** Deleted files as a layer of whiteouts. undefined when there are none. */
async function whiteouts(directory: string, signal: AbortSignal): Promise<string | undefined> {
  if (!existsSync(join(directory, archiveFiles.deletedFiles))) return undefined;
  const deleted = readDescription(directory, archiveFiles.deletedFiles, deletedSchema.nullable()) ?? [];
  if (deleted.length === 0) return undefined;
  const tree = join(directory, 'whiteouts');
  await mkdir(tree, { mode: 0o700 });
  const names = await makeMarkers(tree, deleted, signal);
  const list = join(directory, 'whiteouts.list');
  const written = Buffer.from(names.map((name) => `./${name}\0`).join(''), 'latin1');
  await writeFile(list, written, { mode: 0o600 });
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
  await rm(tree, { recursive: true });
  return file;
}

/** Makes a marker for each; their names relative to the tree, one character a byte (latin1). */
async function makeMarkers(tree: string, deleted: readonly string[], signal: AbortSignal): Promise<string[]> {
  const places = deleted.map(placeOf);
  for (const directory of directoriesOf(places)) {
    signal.throwIfAborted();
    await mkdir(bytesIn(tree, directory), { mode: 0o700 });
  }
  const names = places.map((place) => join(dirname(place), `${marker}${basename(place)}`));
  for (const name of names) {
    signal.throwIfAborted();
    await writeFile(bytesIn(tree, name), '');
  }
  return names;
}

/** All directories above, parents first. */
function directoriesOf(places: readonly string[]): string[] {
  const found = new Set<string>();
  for (const place of places) {
    for (let above = dirname(place); above !== '.' && !found.has(above); above = dirname(above))
      found.add(above);
    if (found.size > maxDirectories) throw refused(`files in more than ${maxDirectories} directories`);
  }
  return [...found].toSorted((one, other) => one.length - other.length);
}

function bytesIn(tree: string, name: string): Buffer {
  return Buffer.concat([Buffer.from(`${tree}/`), Buffer.from(name, 'latin1')]);
}

function placeOf(path: string): string {
  const name = nameOfText(path);
  if (name === undefined) throw refused(quote(path));
  const place = posix.normalize(`/${name}`).replace(/^\/+|\/+$/g, '');
  const parts = place.split('/');
  const isName = (part: string): boolean =>
    part !== '' && !part.startsWith(marker) && !part.includes('\0') && part.length <= maxNameBytes;
  if (parts.length > maxDepth || !parts.every(isName)) throw refused(quote(path));
  return place;
}

function refused(what: string): EngineError {
  return new EngineError('invalid-argument', `the checkpoint’s ${archiveFiles.deletedFiles}: ${what}`);
}
