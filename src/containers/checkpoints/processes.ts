/** The processes of containers as checkpoints deal with them, through the OCI runtime of each. */
import { checkpointContainer, type CheckpointArgs, resumeIfPaused } from '../../oci/checkpoint.ts';
import { whyNoCheckpoints } from '../../oci/criu.ts';
import { pauseContainer } from '../../oci/runtime.ts';
import type { Container } from '../container.ts';
import { monitorDeps, type RuntimesOptions } from '../runtimes.ts';

export interface Checkpoints {
  /** `/var/lib/gantry/checkpoints`. */
  readonly directory: string;
  /** Why this host cannot checkpoint containers of a handler, or undefined. */
  whyNot(handler: string): Promise<string | undefined>;
  /** Stops all processes of a running container where they are. */
  pause(container: Container, signal: AbortSignal): Promise<void>;
  /** Lets them go on. Idempotent. */
  resume(container: Container): Promise<void>;
  /** Saves them as they stand. */
  save(container: Container, args: Omit<CheckpointArgs, 'id'>): Promise<void>;
}

export function createCheckpoints(directory: string, options: RuntimesOptions): Checkpoints {
  return {
    directory,
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
  };
}
