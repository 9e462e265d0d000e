import { readdir, rm } from 'node:fs/promises';
import { EngineError, errnoOf } from '../lib/errors.ts';
import type { ContainerVolumes } from './deps.ts';
import { podIds } from '../sandbox/user-namespace.ts';
import { makeImageVolumes } from './image-volumes.ts';
import { relabelMounts } from './relabel.ts';
import type { HostFacts } from './spec/host-facts.ts';
import { selinuxLabels } from './spec/selinux.ts';
import { labelTreeInThread, type TreePaths } from './tree-jobs.ts';

/** What volumes need of the rest. */
export interface VolumesDeps {
  readonly paths: TreePaths;
  readonly host: Pick<HostFacts, 'selinuxEnabled'>;
  /** Where volumes lie, one directory a container: `/var/lib/gantry/volumes`. Survives a reboot. */
  readonly directory: string;
  /** The engine's root and state directories: nothing in them is relabelled for a container. */
  readonly ownDirectories: readonly string[];
  /** Takes a tree, which containers have shaped, out of its place at once and deletes it. No error if it is not there. */
  readonly discard: (path: string) => void;
}

export function createContainerVolumes(deps: VolumesDeps): ContainerVolumes {
  const directoryOf = (id: string): string => `${deps.directory}/${id}`;
  return {
    async prepare({ id, sandbox, config, image, rootfs, mounts }, signal) {
      const { selinuxEnabled } = deps.host;
      const labels = selinuxLabels(config.linux.security, sandbox.config.security, selinuxEnabled);
      if (labels !== undefined) await relabelMounts(deps, mounts, labels.mount, signal);
      const volumes = await makeImageVolumes(
        deps.paths,
        {
          rootfs,
          declared: image.config.volumes,
          mountedPaths: mounts.map(({ request }) => request.containerPath),
          directory: directoryOf(id),
          rootId: podIds(sandbox.config)?.hostId ?? 0,
        },
        signal,
      );
      if (labels === undefined) return volumes;
      for (const { source } of volumes)
        await labelTreeInThread(deps.paths, { path: source, label: labels.mount }, signal);
      return volumes;
    },
    async remove(id) {
      await discard(deps, directoryOf(id));
    },
    async removeOrphans(known) {
      const present = await readdir(deps.directory).catch((error: unknown) => {
        if (errnoOf(error) === 'ENOENT') return [];
        throw error;
      });
      for (const id of present) if (!known.has(id)) await discard(deps, directoryOf(id));
    },
  };
}

async function discard(deps: VolumesDeps, directory: string): Promise<void> {
  try {
    deps.discard(directory);
  } catch (error) {
    if (!crossesFileSystems(error)) throw error;
    await rm(directory, { recursive: true, force: true });
  }
}

/** The trash may lie on another disk. */
function crossesFileSystems(error: unknown): boolean {
  return errnoOf(error instanceof EngineError ? error.cause : error) === 'EXDEV';
}
