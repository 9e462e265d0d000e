/**
 * The volumes that an image declares: directories of the host with what the image has there, so that they can be
 * written to and outlive a restart of the daemon, whatever the root file system allows.
 */
import { chownSync, mkdirSync } from 'node:fs';
import { EngineError, errnoOf } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';
import { copyTree, hasEntries } from '../linux/copy-tree.ts';
import { cleanPath, isAtOrBelow } from './spec/clean-path.ts';
import { invalidField } from './spec/invalid-field.ts';
import { copyTreeInThread, type TreePaths } from './tree-jobs.ts';

/** A directory of the host for a path in the container. */
export interface ImageVolume {
  readonly path: string;
  readonly source: string;
}

export interface ImageVolumesRequest {
  /** The mounted root file system. */
  readonly rootfs: string;
  /** As the image's configuration lists them. */
  readonly declared: readonly string[];
  /** Paths in the container where the request mounts something. */
  readonly mountedPaths: readonly string[];
  /** Where the volumes are made; the caller removes it. */
  readonly directory: string;
  /** Who owns a volume that the image has nothing for: the root of the pod. */
  readonly rootId: number;
}

const field = 'the image’s Volumes';
/** Each costs a mount in the container. */
const maxVolumes = 128;
/** Mounted by ourselves; a volume there would hide the kernel's files, and an image has nothing to keep in them. */
const kernelTrees = ['/proc', '/sys', '/dev'];

/**
 * Makes a volume for each path that the image declares and no mount covers.
 *
 * @throws EngineError invalid-argument for a path that cannot be a volume, failed-precondition when the image has a file there
 */
export async function makeImageVolumes(
  paths: TreePaths,
  { rootfs, declared, mountedPaths, directory, rootId }: ImageVolumesRequest,
  signal: AbortSignal,
): Promise<readonly ImageVolume[]> {
  const volumes = uncoveredVolumes(declared, mountedPaths).map((path, index) => ({
    path,
    source: `${directory}/${index}`,
  }));
  // Setuid files of the image lie there: not for the node's users (CVE-2021-41103).
  if (volumes.length > 0) mkdirSync(directory, { recursive: true, mode: 0o700 });
  for (const { path, source } of volumes) {
    mkdirSync(source, { mode: 0o755 });
    chownSync(source, rootId, rootId);
    try {
      const request = { directory: path, target: source };
      // Most are empty: not worth a thread.
      if (hasEntries(rootfs, path)) await copyTreeInThread(paths, { ...request, path: rootfs }, signal);
      else copyTree({ ...request, root: rootfs });
    } catch (error) {
      throw explained(error, path);
    }
  }
  return volumes;
}

/**
 * The declared paths that need a volume of their own, made plain and each once. One at or below a mount of the request
 * needs none: what is written there goes where the request wants it.
 *
 * @throws EngineError invalid-argument
 */
export function uncoveredVolumes(
  declared: readonly string[],
  mountedPaths: readonly string[],
): readonly string[] {
  const covers = [...kernelTrees, ...mountedPaths.map((path) => cleanPath(path, 'mounts.container_path'))];
  // Builders accept relative paths and mean the root; `..` ends there too.
  const volumes = [...new Set(declared.map((path) => cleanPath(`/${path}`, field)))];
  if (volumes.includes('/')) throw invalidField(field, 'the root cannot be a volume');
  const wanted = volumes.filter((path) => !covers.some((cover) => isAtOrBelow(path, cover)));
  if (wanted.length > maxVolumes) {
    throw invalidField(
      field,
      `${wanted.length} volumes are more than the ${maxVolumes} that one container may have`,
    );
  }
  return wanted;
}

function explained(error: unknown, path: string): unknown {
  const code = errnoOf(error);
  if (code !== 'ENOTDIR' && code !== 'ELOOP' && code !== 'ENAMETOOLONG') return error;
  const reasons = {
    ENOTDIR: 'is not a directory in it',
    ELOOP: 'leads in circles in it',
    ENAMETOOLONG: 'is nested too deep in it',
  };
  return new EngineError('failed-precondition', `the image’s volume ${quote(path)} ${reasons[code]}`, {
    cause: error,
  });
}
