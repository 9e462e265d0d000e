/**
 * A container that is made of a checkpoint: everything but its processes, which `start` restores. They exist in CRIU's images only
 * until then.
 */
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { unixNowNs } from '../../lib/clock.ts';
import { EngineError } from '../../lib/errors.ts';
import type { ContainerId, SandboxId } from '../../lib/ids.ts';
import type { MonitoredContainer } from '../../oci/monitor.ts';
import type { Mount, Spec } from '../../oci/spec-types.ts';
import { sandboxPaths } from '../../sandbox/sandbox.ts';
import { containerPaths, type Container } from '../container.ts';
import { logPlaceOf, makeLogPlace } from '../log-path.ts';
import type { ContainerDeps } from '../deps.ts';
import { releaseProcesses } from '../release.ts';
import { archiveFiles } from './archive-files.ts';
import type { CheckpointSource } from './open-source.ts';
import { restoredLayers } from './restored-layers.ts';
import { adoptPodNamespaces, type PodSettings } from './pod-namespaces.ts';
import { adoptUnifiedCgroup } from './unified-cgroup.ts';
import { vetImages } from './vet-images.ts';
import { legacyHierarchies } from './vet-mounts.ts';
import { dropRestoreWork, restoreWork } from './work-directory.ts';

/** What SIGKILL would have given it. */
const killedExitCode = 137;

/** The root filesystem as it was when the container was saved: of its image, and of what it had changed. */
export async function prepareRestoredRoot(
  deps: ContainerDeps,
  { draft, source }: { readonly draft: Container; readonly source: CheckpointSource },
  signal: AbortSignal,
): Promise<{ readonly rootfs: string }> {
  const { id, runtimeHandler } = draft;
  const why = await deps.checkpoints.whyNot(runtimeHandler);
  if (why !== undefined) throw new EngineError('failed-precondition', `restore container ${id}: ${why}`);
  const tars = await restoredLayers(source.directory, signal);
  return await deps.checkpoints.layers.prepareSnapshot(id, { imageId: source.image.id, tars }, signal);
}

/**
 * Takes a container whose spec is written as created, if the checkpoint gives it nothing that the spec does not.
 * @throws EngineError permission-denied naming what is too much, data-loss
 */
export async function standBy(
  deps: ContainerDeps,
  draft: Container,
  source: CheckpointSource,
): Promise<Container> {
  const { id } = draft;
  const spec = readSpec(deps, id);
  const images = join(source.directory, archiveFiles.images);
  await vetImages(spec, images);
  await adoptPodNamespaces(images, podSettings(deps, draft.sandboxId));
  if (deps.checkpoints.hasUnifiedCgroups) {
    const isRoot = spec.linux.namespaces.some(({ type }) => type === 'cgroup');
    await adoptUnifiedCgroup(images, { path: deps.checkpoints.cgroupPath(draft.cgroupsPath), isRoot });
  }
  writeRestoreSpec(deps, draft, spec, images);
  renameSync(source.directory, restoreWork(deps.checkpoints.directory, id));
  const created = deps.store.update(id, () => ({
    ...draft,
    restoredFrom: source.from,
    state: { name: 'created' },
  }));
  deps.store.events.emit({ kind: 'created', container: created });
  return created;
}

/** Restores the processes of a container that stands by. @throws EngineError with CRIU's reason; failed-precondition (the log's place) */
export async function restore(
  deps: ContainerDeps,
  container: Container,
  signal: AbortSignal,
): Promise<MonitoredContainer> {
  const { id } = container;
  const imageDirectory = join(restoreWork(deps.checkpoints.directory, id), archiveFiles.images);
  const securityProfile = profileOf(readSpec(deps, id));
  // It was looked at when the container was made, which may be long ago.
  makeLogPlace(logPlaceOf(deps.sandboxes.mustFind(container.sandboxId).config, container.config));
  const processes = await deps.checkpoints.restore(container, { imageDirectory, securityProfile }, signal);
  // What is read when the container is saved again.
  writeFileSync(optionsFile(deps, id), '');
  await dropRestoreWork(deps, id);
  return processes;
}

/** After a restart of the daemon: a container that was being restored may be half there, and nobody knows its monitor. */
export async function recoverUnrestored(deps: ContainerDeps, container: Container): Promise<void> {
  const isWhole = existsSync(restoreWork(deps.checkpoints.directory, container.id));
  if (isWhole && !(await deps.runtime.isStarted(container))) return;
  await recordUnrestored(deps, container, 'the daemon ended while it was being restored');
}

/** The end of a container that never had processes, or none that are known. The caller holds its lock. */
export async function recordUnrestored(
  deps: ContainerDeps,
  container: Container,
  message: string,
): Promise<void> {
  await releaseProcesses(deps, container);
  const finishedAtNs = String(unixNowNs());
  const exited = deps.store.update(container.id, (old) => ({
    ...old,
    state: { name: 'exited', finishedAtNs, exitCode: killedExitCode, reason: 'Error', message },
  }));
  deps.store.events.emit({ kind: 'stopped', container: exited });
}

function podSettings({ sandboxes, stateDirectory }: ContainerDeps, id: SandboxId): PodSettings {
  const { sysctls } = sandboxes.mustFind(id).config;
  return { hostname: readFileSync(sandboxPaths(stateDirectory, id).hostname, 'utf8').trim(), sysctls };
}

function readSpec({ stateDirectory }: Pick<ContainerDeps, 'stateDirectory'>, id: ContainerId): Spec {
  return JSON.parse(readFileSync(specFile(stateDirectory, id), 'utf8')) as Spec;
}

function specFile(stateDirectory: string, id: ContainerId): string {
  return join(containerPaths(stateDirectory, id).bundle, 'config.json');
}

function optionsFile({ stateDirectory }: Pick<ContainerDeps, 'stateDirectory'>, id: ContainerId): string {
  return join(containerPaths(stateDirectory, id).bundle, 'criu.conf');
}

/** What the runtime is told: CRIU's options for which it has no flag, and mounts that it would restore wrongly. */
function writeRestoreSpec(deps: ContainerDeps, container: Container, spec: Spec, images: string): void {
  const { id, cgroupsPath } = container;
  const file = optionsFile(deps, id);
  // The pod has another address: connections of the old one are closed.
  writeFileSync(file, 'tcp-close\n', { mode: 0o600 });
  const annotations = { ...spec.annotations, 'org.criu.config': file };
  const path = deps.checkpoints.cgroupPath(cgroupsPath);
  const mounts = spec.mounts.flatMap((mount) =>
    mount.type === 'cgroup' ? ownCgroups(mount, images, path) : [mount],
  );
  const changed = { ...spec, mounts, annotations };
  writeFileSync(specFile(deps.stateDirectory, id), JSON.stringify(changed), { mode: 0o600 });
}

/** With cgroup v1, runc 1.5 and before restore the cgroups that runc itself is in: those of the engine's monitors. */
function ownCgroups(mount: Mount, images: string, path: string): readonly Mount[] {
  const { destination, options = [] } = mount;
  const names = legacyHierarchies(images, readdirSync(images), destination);
  if (names.length === 0) return [mount];
  return [
    { destination, type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'noexec', 'nodev', 'mode=755'] },
    ...names.map((name) => ({
      destination: join(destination, name),
      type: 'bind',
      source: join('/sys/fs/cgroup', name, path),
      options: ['bind', ...options],
    })),
  ];
}

function profileOf({ process }: Spec): string | undefined {
  if (process.apparmorProfile !== undefined) return `apparmor:${process.apparmorProfile}`;
  return process.selinuxLabel === undefined ? undefined : `selinux:${process.selinuxLabel}`;
}
