/** The processes of containers as checkpoints deal with them, through the OCI runtime of each. */
import type { ChainId, ContainerId, ImageId } from '../../lib/ids.ts';
import { checkpointContainer, type CheckpointArgs, resumeIfPaused } from '../../oci/checkpoint.ts';
import { whyNoCheckpoints } from '../../oci/criu.ts';
import type { MonitoredContainer } from '../../oci/monitor.ts';
import { restoreContainer } from '../../oci/restore.ts';
import { pauseContainer } from '../../oci/runtime.ts';
import { containerPaths, type Container } from '../container.ts';
import { monitorDeps, type RuntimesOptions, stdinOf } from '../runtimes.ts';

export interface Checkpoints {
  /** `/var/lib/gantry/checkpoints`. */
  readonly directory: string;
  /** What containers may be restored from here. */
  readonly sources: { readonly directories: readonly string[]; readonly images: boolean };
  readonly layers: CheckpointLayers;
  /** The path of a container's cgroup in each hierarchy. */
  cgroupPath(cgroupsPath: string): string;
  /** Why this host cannot checkpoint containers of a handler, or undefined. */
  whyNot(handler: string): Promise<string | undefined>;
  /** Stops all processes of a running container where they are. */
  pause(container: Container, signal: AbortSignal): Promise<void>;
  /** Lets them go on. Idempotent. */
  resume(container: Container): Promise<void>;
  /** Saves them as they stand. */
  save(container: Container, args: Omit<CheckpointArgs, 'id'>): Promise<void>;
  /** Makes them again from saved ones. They run then, whatever the container's own program is. */
  restore(container: Container, args: RestoreRequest, signal: AbortSignal): Promise<MonitoredContainer>;
}

/** What restoring asks of the images' side. */
interface CheckpointLayers {
  isCheckpoint(id: ImageId): Promise<boolean>;
  /** The unpacked layers of an image, top first. */
  directoriesOf(id: ImageId): readonly string[];
  /** Tars as layers upon those of an image, for one container. The chain of all, bottom first. */
  add(id: ImageId, paths: readonly string[], signal: AbortSignal): Promise<readonly ChainId[]>;
  /** Removes such layers that no container stands upon. */
  collect(): Promise<void>;
  /** Makes the writable layer of a container upon such a chain and mounts its root filesystem. */
  prepareSnapshot(key: ContainerId, chainIds: readonly ChainId[]): Promise<{ readonly rootfs: string }>;
}

interface RestoreRequest {
  readonly imageDirectory: string;
  readonly securityProfile: string | undefined;
}

export interface CheckpointOptions {
  readonly directory: string;
  readonly sources: Checkpoints['sources'];
  readonly layers: CheckpointLayers;
  readonly stateDirectory: string;
  readonly cgroupPath: Checkpoints['cgroupPath'];
}

export function createCheckpoints(own: CheckpointOptions, options: RuntimesOptions): Checkpoints {
  return {
    directory: own.directory,
    sources: own.sources,
    layers: own.layers,
    cgroupPath: own.cgroupPath,
    async whyNot(handler) {
      return await whyNoCheckpoints(monitorDeps(options, handler).runtime);
    },
    async pause({ id, runtimeHandler }, signal) {
      await pauseContainer(monitorDeps(options, runtimeHandler), { id, signal });
    },
    async resume({ id, runtimeHandler }) {
      await resumeIfPaused(monitorDeps(options, runtimeHandler), { id });
    },
    async save({ id, runtimeHandler }, args) {
      await checkpointContainer(monitorDeps(options, runtimeHandler), { id, ...args });
    },
    async restore({ id, config, runtimeHandler, logPath }, request, signal) {
      return await restoreContainer(monitorDeps(options, runtimeHandler), {
        ...request,
        id,
        bundle: containerPaths(own.stateDirectory, id).bundle,
        ...(logPath === undefined ? {} : { logPath }),
        terminal: config.tty,
        stdin: stdinOf(config),
        signal,
      });
    },
  };
}
