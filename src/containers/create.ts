import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { unixNowNs } from '../lib/clock.ts';
import { EngineError } from '../lib/errors.ts';
import { newContainerId, quote, type SandboxId } from '../lib/ids.ts';
import { isSameJson } from '../lib/same-json.ts';
import { undoFailed } from '../lib/undo.ts';
import { isHolderGone } from '../sandbox/holder-ended.ts';
import type { MappedIds } from '../images/snapshots/snapshot-types.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { podIds } from '../sandbox/user-namespace.ts';
import { phase } from '../telemetry/traces/phase.ts';
import type { ContainerConfig, ContainerImage } from './container-config.ts';
import { isCheckpoint, openSource, type CheckpointSource } from './checkpoints/open-source.ts';
import { prepareRestoredRoot, standBy } from './checkpoints/stand-by.ts';
import { containerName, containerPaths, type Container } from './container.ts';
import type { ContainerDeps, ContainerImageFacts } from './deps.ts';
import { joinLogPath, logPlaceOf, makeLogPlace } from './log-path.ts';
import { releaseContainer } from './release.ts';
import { makeRealMountPoints } from './root-directories.ts';
import { stopSignalOf } from './stop-signal.ts';

export interface CreateRequest {
  /** Id of the sandbox, or a unique prefix of it. */
  readonly sandboxId: string;
  readonly config: ContainerConfig;
}

/**
 * Makes a container in a ready sandbox: root filesystem, bundle, and the runtime's process that waits to be started.
 * Whatever fails, or a client that leaves, undoes all of it; if that fails too the record stays as `unknown`. Asked again with
 * the same request it gives the container that it made, until that is started.
 *
 * @throws EngineError not-found (sandbox, image), failed-precondition (sandbox not ready), invalid-argument
 */
export async function createContainer(
  deps: ContainerDeps,
  request: CreateRequest,
  signal: AbortSignal,
): Promise<Container> {
  const { id: sandboxId } = deps.sandboxes.mustFind(request.sandboxId);
  const name = containerName(sandboxId, request.config);
  using _name = await phase('wait for the name', () => deps.store.nameLocks.acquire(name, signal));
  // Held to the end: a sandbox is not stopped while a container is being made in it.
  using _sandbox = await phase('wait for the pod', () => deps.sandboxes.locks.acquire(sandboxId, signal));
  const sandbox = readySandbox(deps, sandboxId);
  const existing = deps.store.byName(name);
  if (existing !== undefined) {
    if (isRetryOf(existing, request.config)) return existing;
    throw new EngineError(
      'already-exists',
      `container name ${quote(request.config.metadata.name)} is in use by ${existing.id}`,
    );
  }
  deps.cgroups.expectContainers();
  const { reference } = request.config.image;
  if (await isCheckpoint(deps, reference)) {
    await using source = await phase('checkpoint', () => openSource(deps, reference, signal));
    const draft = reserve(deps, sandbox, request.config, source.image);
    return await make(deps, { draft, sandbox, image: source.image, source }, signal);
  }
  const parts = await phase('image and record', () => {
    const image = resolveImage(deps, request.config.image);
    return { draft: reserve(deps, sandbox, request.config, image), sandbox, image };
  });
  return await make(deps, parts, signal);
}

/** No reply proves that it was received: the same request again is given the container that nobody has touched since. */
function isRetryOf({ state, config }: Container, requested: ContainerConfig): boolean {
  return state.name === 'created' && isSameJson(config, requested);
}

function readySandbox(deps: Pick<ContainerDeps, 'sandboxes'>, id: SandboxId): Sandbox {
  const sandbox = deps.sandboxes.get(id);
  if (sandbox?.state.name === 'ready') {
    if (!isHolderGone(sandbox.state)) return sandbox;
    // Another process may have its pid by now, whose namespace (the node's!) the container would join.
    throw new EngineError(
      'failed-precondition',
      `pod sandbox ${id}: the process that kept the PID namespace of the pod has ended: it has to be made again`,
    );
  }
  throw new EngineError(
    'failed-precondition',
    `pod sandbox ${id} is not ready: containers are made in a running pod only`,
  );
}

function resolveImage(
  deps: Pick<ContainerDeps, 'images'>,
  { reference }: ContainerImage,
): ContainerImageFacts {
  const facts = deps.images.resolve(reference);
  if (facts === undefined)
    throw new EngineError('not-found', `image ${quote(reference)} is not on this node`);
  return facts;
}

function mountedImages(
  deps: Pick<ContainerDeps, 'images'>,
  { mounts }: ContainerConfig,
): Pick<Container, 'mountedImages'> {
  const ids = mounts.flatMap(({ image }, index) =>
    image === undefined ? [] : [[index, resolveImage(deps, image).id] as const],
  );
  return ids.length === 0 ? {} : { mountedImages: Object.fromEntries(ids) };
}

function reserve(
  deps: ContainerDeps,
  sandbox: Sandbox,
  config: ContainerConfig,
  image: ContainerImageFacts,
): Container {
  const id = newContainerId();
  const place = logPlaceOf(sandbox.config, config);
  const container: Container = {
    version: 1,
    id,
    sandboxId: sandbox.id,
    config,
    imageId: image.id,
    imageReference: config.image.userSpecified ?? config.image.reference,
    ...mountedImages(deps, config),
    runtimeHandler: sandbox.runtimeHandler,
    createdAtNs: String(unixNowNs()),
    bootId: deps.bootId,
    ...(place === undefined ? {} : { logPath: joinLogPath(place) }),
    cgroupsPath: deps.cgroups.pathFor(sandbox, id),
    stopSignal: stopSignalOf(config.stopSignal, image.config.stopSignal),
    user: { uid: 0, gid: 0, supplementalGroups: [] },
    resources: config.linux.resources,
    state: { name: 'creating' },
  };
  deps.store.add(container);
  return container;
}

interface Parts {
  readonly draft: Container;
  readonly sandbox: Sandbox;
  readonly image: ContainerImageFacts;
  /** The checkpoint that it is made of. */
  readonly source?: CheckpointSource;
}

async function make(deps: ContainerDeps, parts: Parts, signal: AbortSignal): Promise<Container> {
  const { draft } = parts;
  // Once there are processes, undoing has to wait for their monitor: it writes an exit file as its last act.
  let toUndo = draft;
  try {
    makeDirectories(deps, parts);
    if (parts.source !== undefined)
      return await standBy(deps, (toUndo = await prepare(deps, parts, signal)), parts.source);
    await using monitor = await phase('start the monitor', () => startMonitor(deps, draft, signal));
    const prepared = (toUndo = await prepare(deps, parts, signal));
    const processes = await phase('create in the runtime', () => monitor.create());
    const created: Container = { ...prepared, state: { name: 'created', processes } };
    toUndo = created;
    await phase('unbind mounts', () => deps.mounts.unbind(containerPaths(deps.stateDirectory, draft.id)));
    await phase('record', () => {
      deps.store.update(draft.id, () => created);
      deps.exits.watch(draft.id, processes);
      deps.store.events.emit({ kind: 'created', container: created });
    });
    return created;
  } catch (error) {
    await phase('undo', () => undo(deps, toUndo, error)).finally(() => deps.plugins.abandoned(toUndo));
    throw error;
  }
}

/** For its bundle and its log. */
function makeDirectories(deps: Pick<ContainerDeps, 'stateDirectory'>, { draft, sandbox }: Parts): void {
  mkdirSync(containerPaths(deps.stateDirectory, draft.id).directory, { recursive: true, mode: 0o700 });
  makeLogPlace(logPlaceOf(sandbox.config, draft.config));
}

/** Makes all that the runtime needs to create the processes; gives the container as it will be. */
async function prepare(
  deps: ContainerDeps,
  { draft, sandbox, image, source }: Parts,
  signal: AbortSignal,
): Promise<Container> {
  const { id, config } = draft;
  const paths = containerPaths(deps.stateDirectory, id);
  const ids = mappedIds(sandbox);
  if (source !== undefined && ids !== undefined)
    throw new EngineError(
      'failed-precondition',
      `container ${id} cannot be restored: its pod has a user namespace of its own`,
    );
  const mounts = await phase('mounts', () =>
    deps.mounts.resolve({ config, directory: paths.directory, ids }, signal),
  );
  const { rootfs } = await phase('snapshot', () =>
    source === undefined
      ? deps.images.prepareSnapshot(id, image.id, ids)
      : prepareRestoredRoot(deps, { draft, source }, signal),
  );
  makeRealMountPoints(rootfs);
  const parts = { id, sandbox, config, image, rootfs, mounts };
  const volumes = await phase('volumes', () => deps.volumes.prepare(parts, signal));
  const built = await phase('spec', () =>
    deps.spec.build({ ...parts, cgroupsPath: draft.cgroupsPath, volumes }),
  );
  const { container, spec: whole } = await deps.plugins.creating(
    { container: { ...draft, user: built.user }, sandbox, spec: built.spec },
    signal,
  );
  // Before anything lies there, so that recovery would find it.
  if (container.cgroupsPath !== draft.cgroupsPath) deps.store.update(id, () => container);
  const spec = await phase('bind mounts', () => deps.mounts.bind(whole, paths, container.runtimeHandler));
  writeFileSync(join(paths.bundle, 'config.json'), JSON.stringify(spec), { mode: 0o600 });
  signal.throwIfAborted();
  return container;
}

/** The ids of the pod's user namespace; undefined without one. */
function mappedIds({ config, state }: Sandbox): MappedIds | undefined {
  const ids = podIds(config);
  const userNamespace = state.name === 'ready' ? state.namespaces.user : undefined;
  if (ids === undefined || userNamespace === undefined) return undefined;
  return { userNamespace, hostId: ids.hostId, length: ids.length };
}

function startMonitor(
  deps: Pick<ContainerDeps, 'runtime' | 'stateDirectory'>,
  { id, config, runtimeHandler, logPath }: Container,
  signal: AbortSignal,
): ReturnType<ContainerDeps['runtime']['startMonitor']> {
  return deps.runtime.startMonitor(
    {
      id,
      handler: runtimeHandler,
      bundle: containerPaths(deps.stateDirectory, id).bundle,
      name: config.metadata.name,
      ...(logPath === undefined ? {} : { logPath }),
      terminal: config.tty,
      stdin: config.stdin,
      stdinOnce: config.stdinOnce,
    },
    signal,
  );
}

async function undo(deps: ContainerDeps, container: Container, reason: unknown): Promise<void> {
  const { id } = container;
  await undoFailed({
    what: 'creating it',
    reason,
    undo: async () => {
      await releaseContainer(deps, container);
      deps.store.delete(id);
    },
    keepAsUnknown: (text) =>
      deps.store.update(id, (old) => ({ ...old, state: { name: 'unknown', reason: text } })),
  });
}
