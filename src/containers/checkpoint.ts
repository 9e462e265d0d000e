import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Deadline } from '../lib/deadline.ts';
import { EngineError } from '../lib/errors.ts';
import type { ContainerId } from '../lib/ids.ts';
import { podIds } from '../sandbox/user-namespace.ts';
import { archiveFiles } from './checkpoints/archive-files.ts';
import { writeDescriptions } from './checkpoints/descriptions.ts';
import { NewArchive } from './checkpoints/new-archive.ts';
import { checkpointWork, partFile } from './checkpoints/work-directory.ts';
import { writeArchive, writeRootChanges } from './checkpoints/write-archive.ts';
import { containerPaths, type Container } from './container.ts';
import type { ContainerDeps } from './deps.ts';

export interface CheckpointRequest {
  readonly id: ContainerId;
  /** Where the archive is written: an absolute path in a directory that exists, of a file that does not. */
  readonly location: string;
  /** 0 for as long as it may take at most, half an hour; more than that is taken for that. */
  readonly timeoutMs: number;
}

/** A container stands still for no longer than this, and the ten seconds that CRIU then gets to end; whatever the request says. */
const longestMs = 30 * 60_000;

/**
 * Saves a running container, memory and written files, to an archive. Its processes stand still meanwhile and then go on, also when
 * it fails; then nothing is left of it.
 *
 * @throws EngineError not-found, failed-precondition (not running, or CRIU's reason), unimplemented (no CRIU here), invalid-argument,
 * already-exists and permission-denied (the location), deadline-exceeded, unavailable (the daemon stops)
 */
export async function checkpointContainer(
  deps: ContainerDeps,
  { id, location, timeoutMs }: CheckpointRequest,
  signal: AbortSignal,
): Promise<void> {
  using _ = await deps.store.locks.acquire(id, signal);
  const container = deps.store.mustFind(id);
  const { state } = container;
  if (state.name !== 'running')
    throw new EngineError(
      'failed-precondition',
      `container ${id} is ${state.name}: only a running one can be checkpointed`,
    );
  await mustBeAble(deps, container);
  mustHaveNodeIds(deps, container);
  const limitMs = timeoutMs === 0 ? longestMs : Math.min(timeoutMs, longestMs);
  using deadline = new Deadline(limitMs);
  try {
    const ends = AbortSignal.any([signal, deadline.signal, deps.checkpoints.standingStill.ending]);
    await save(deps, { container, location, timeoutMs: limitMs }, ends);
  } catch (error) {
    if (!deadline.signal.aborted || signal.aborted) throw error;
    const message = `checkpoint container ${id}: not done within ${limitMs / 1000} s`;
    throw new EngineError('deadline-exceeded', message, { cause: error });
  }
}

/**
 * The kubelet's users, and Kubernetes' own tests, know "unknown method CheckpointContainer" as the answer of an engine without
 * checkpoints.
 */
async function mustBeAble(deps: ContainerDeps, { runtimeHandler }: Container): Promise<void> {
  const reason = await deps.checkpoints.whyNot(runtimeHandler);
  if (reason === undefined) return;
  throw new EngineError('unimplemented', `unknown method CheckpointContainer on this node: ${reason}`);
}

/** CRIU does not enter a user namespace that others share, and what was written has the ids of this one pod. */
function mustHaveNodeIds(deps: ContainerDeps, { id, sandboxId }: Container): void {
  const pod = deps.sandboxes.get(sandboxId);
  if (pod === undefined || podIds(pod.config) === undefined) return;
  const message = `container ${id} cannot be checkpointed: its pod has a user namespace of its own`;
  throw new EngineError('failed-precondition', message);
}

interface Save {
  readonly container: Container;
  readonly location: string;
  readonly timeoutMs: number;
}

async function save(
  deps: ContainerDeps,
  { container, location, timeoutMs }: Save,
  signal: AbortSignal,
): Promise<void> {
  const directory = checkpointWork(deps.checkpoints.directory, container.id);
  const images = join(directory, archiveFiles.images);
  await using undo = new AsyncDisposableStack();
  await rm(directory, { recursive: true, force: true });
  undo.defer(async () => await rm(directory, { recursive: true, force: true }));
  // It ends before the directory that names its part.
  const archive = undo.use(new NewArchive(location));
  await mkdir(images, { recursive: true, mode: 0o700 });
  await writeFile(join(directory, partFile), archive.partPath, { mode: 0o600 });
  archive.create();
  await freezeWhile(deps, { container, signal }, async () => {
    const checkpointedAtMs = Date.now();
    await deps.checkpoints.save(container, {
      imageDirectory: images,
      workDirectory: directory,
      timeoutMs,
      signal,
    });
    const roots = deps.images.rootDirectories(container.id, container.imageId);
    await writeRootChanges(roots, directory, { timeoutMs, signal });
    writeDescriptions(
      {
        container,
        sandbox: deps.sandboxes.mustFind(container.sandboxId),
        imageName: deps.images.nameOf(container.imageId) ?? container.imageReference,
        checkpointedAtMs,
        specFile: join(containerPaths(deps.stateDirectory, container.id).bundle, 'config.json'),
      },
      directory,
    );
  });
  await writeArchive(directory, archive.partPath, { timeoutMs, signal });
  await archive.commit();
}

/** Memory and files are of one moment: what runs between the two would make files that the memory does not know. */
async function freezeWhile(
  { checkpoints }: ContainerDeps,
  { container, signal }: { readonly container: Container; readonly signal: AbortSignal },
  work: () => Promise<void>,
): Promise<void> {
  await checkpoints.standingStill.during(async () => {
    await using thaw = new AsyncDisposableStack();
    thaw.defer(async () => await checkpoints.resume(container));
    await checkpoints.pause(container, signal);
    await work();
  });
}
