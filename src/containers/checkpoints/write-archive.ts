/** The tars of a checkpoint, written by tar(1), which CRIU needs as well. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runCommand } from '../../linux/command.ts';
import { archiveFiles } from './archive-files.ts';
import { textOfName } from './byte-names.ts';
import { rootChanges, type RootDirectories } from './root-changes.ts';

interface Limits {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** Writes `rootfs-diff.tar` and `deleted.files` into `directory`. The container must not run meanwhile. */
export async function writeRootChanges(
  directories: RootDirectories,
  directory: string,
  limits: Limits,
): Promise<void> {
  const { present, deleted } = await rootChanges(directories);
  const list = join(directory, 'root-changes.list');
  await writeFile(list, listOf(present), { mode: 0o600, flag: 'wx' });
  const options = [
    '--no-recursion',
    '--null',
    // Names that begin with a dash are names.
    '--verbatim-files-from',
    `--files-from=${list}`,
    '--xattrs',
    '--xattrs-include=*',
    '--sparse',
  ];
  await tar(
    join(directory, archiveFiles.rootChanges),
    [`--directory=${directories.rootfs}`, ...options],
    limits,
  );
  const paths = deleted.map((path) => `/${textOfName(path)}`);
  await writeFile(join(directory, archiveFiles.deletedFiles), JSON.stringify(paths), { mode: 0o600 });
}

/** Writes the archive of what lies in `directory` over `file`, which exists. The descriptions come first: readers want them first. */
export async function writeArchive(directory: string, file: string, limits: Limits): Promise<void> {
  const {
    config,
    spec,
    criStatus,
    status,
    deletedFiles,
    dumpLog,
    statistics,
    rootChanges: changes,
    images,
  } = archiveFiles;
  const names = [config, spec, criStatus, status, deletedFiles, dumpLog, statistics, changes, images];
  await tar(file, [`--directory=${directory}`, '--owner=0', '--group=0', '--', ...names], limits);
}

async function tar(file: string, args: readonly string[], { timeoutMs, signal }: Limits): Promise<void> {
  // A colon in a file's name is a colon, not a host's.
  const options = ['--create', `--file=${file}`, '--force-local', '--format=pax', '--numeric-owner'];
  await runCommand(['tar', ...options, ...args], { check: true, timeoutMs, signal });
}

const namesInOneWrite = 10_000;

function* listOf(names: readonly string[]): Generator<Buffer> {
  for (let at = 0; at < names.length; at += namesInOneWrite)
    yield Buffer.from(
      names
        .slice(at, at + namesInOneWrite)
        .map((name) => `./${name}\0`)
        .join(''),
      'latin1',
    );
}
