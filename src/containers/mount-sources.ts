/** Finding what a container's mounts bind: host paths, followed to their end, and images, mounted read-only. */
import { closeSync, constants, mkdirSync, openSync, readlinkSync } from 'node:fs';
import { EngineError, errnoOf, messageOf } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';
import type { MappedIds } from '../images/snapshots/snapshot-types.ts';
import { openInRoot } from '../linux/at.ts';
import { readMounts, type MountInfo } from '../linux/mountinfo.ts';
import type { ContainerConfig, MountRequest } from './container-config.ts';
import type { SpecMount } from './spec/spec-input.ts';

export interface MountSourceDeps {
  /** Follows a path that a user gave; undefined if it does not exist. It may lie on a file system that never answers, so there is a deadline inside. */
  readonly realPath: (path: string) => Promise<string | undefined>;
  readonly images: {
    /** Mounts the image's layers read-only. @throws EngineError not-found */
    mountReadOnly(reference: string, target: string, ids: MappedIds | undefined): Promise<void>;
  };
}

/** Whose mounts, and where images are mounted for them, with which ids. */
interface MountSourcesRequest {
  readonly config: ContainerConfig;
  readonly directory: string;
  readonly ids: MappedIds | undefined;
}

/**
 * The sources of all mounts of the request. Images are mounted below `directory`, which the caller unmounts.
 *
 * @throws EngineError failed-precondition naming a host path that does not exist, not-found naming an image
 */
export async function resolveMountSources(
  deps: MountSourceDeps,
  { config, directory, ids }: MountSourcesRequest,
  signal: AbortSignal,
): Promise<readonly SpecMount[]> {
  const table = config.mounts.length === 0 ? [] : readMounts();
  const resolved: SpecMount[] = [];
  for (const [index, request] of config.mounts.entries()) {
    signal.throwIfAborted();
    if (request.image === undefined) resolved.push(await hostSource(deps, request, table));
    else resolved.push(await imageSource(deps, request, { target: `${directory}/images/${index}`, ids }));
  }
  return resolved;
}

async function hostSource(
  deps: MountSourceDeps,
  request: MountRequest,
  table: readonly MountInfo[],
): Promise<SpecMount> {
  const hostPath = request.hostPath ?? '';
  const source = await deps.realPath(hostPath).catch((error: unknown) => {
    // A file where the path has a directory: the path does not exist either.
    if (errnoOf(error) === 'ENOTDIR') return undefined;
    throw error;
  });
  if (source !== undefined) return { request, source, sourcePropagation: propagationOf(source, table) };
  throw new EngineError(
    'failed-precondition',
    `mount of ${quote(request.containerPath)}: host path ${quote(hostPath)} does not exist`,
  );
}

/** The mount that a path lies on is the last of the deepest ones above it. */
function propagationOf(path: string, table: readonly MountInfo[]): SpecMount['sourcePropagation'] {
  let deepest: MountInfo | undefined;
  for (const mount of table) {
    const isAbove = path === mount.target || path.startsWith(mount.target === '/' ? '/' : `${mount.target}/`);
    if (isAbove && (deepest === undefined || mount.target.length >= deepest.target.length)) deepest = mount;
  }
  const fields = deepest?.propagation ?? [];
  if (fields.some((field) => field.startsWith('shared:'))) return 'shared';
  return fields.some((field) => field.startsWith('master:')) ? 'slave' : 'private';
}

async function imageSource(
  deps: MountSourceDeps,
  request: MountRequest,
  { target, ids }: { readonly target: string; readonly ids: MappedIds | undefined },
): Promise<SpecMount> {
  mkdirSync(target, { recursive: true, mode: 0o700 });
  await deps.images.mountReadOnly(request.image?.reference ?? '', target, ids);
  return { request, source: request.imageSubPath === undefined ? target : subPath(target, request) };
}

/** The path inside the image is the image's word against ours: it is followed inside the image's root only. */
function subPath(root: string, request: MountRequest): string {
  const rootFd = openSync(root, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const fd = openInRoot(rootFd, request.imageSubPath ?? '', constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    const where = `image ${quote(request.image?.reference ?? '')} has no ${quote(request.imageSubPath ?? '')}`;
    throw new EngineError(
      'failed-precondition',
      `mount of ${quote(request.containerPath)}: ${where}: ${messageOf(error)}`,
      { cause: error },
    );
  } finally {
    closeSync(rootFd);
  }
}
