/** The processes of containers as checkpoints deal with them, through the OCI runtime of each. */
import { checkpointContainer, freezeContainer, resumeIfPaused } from '../../oci/checkpoint.ts';
import { whyNoCheckpoints } from '../../oci/criu.ts';
import { restoreContainer } from '../../oci/restore.ts';
import { containerPaths } from '../container.ts';
import type { Checkpoints } from '../deps.ts';
import { monitorDeps, type RuntimesOptions, stdinOf } from '../runtimes.ts';

export interface CheckpointOptions {
  readonly directory: string;
  readonly sources: Checkpoints['sources'];
  readonly layers: Checkpoints['layers'];
  readonly standingStill: Checkpoints['standingStill'];
  readonly stateDirectory: string;
  readonly cgroupPath: Checkpoints['cgroupPath'];
  readonly hasUnifiedCgroups: boolean;
}

export function createCheckpoints(own: CheckpointOptions, options: RuntimesOptions): Checkpoints {
  return {
    directory: own.directory,
    sources: own.sources,
    layers: own.layers,
    standingStill: own.standingStill,
    cgroupPath: own.cgroupPath,
    hasUnifiedCgroups: own.hasUnifiedCgroups,
    async whyNot(handler) {
      return await whyNoCheckpoints(monitorDeps(options, handler).runtime);
    },
    async pause({ id, runtimeHandler }, signal) {
      await freezeContainer(monitorDeps(options, runtimeHandler), { id, signal });
      signal.throwIfAborted();
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
