/** Making a container's processes again from CRIU's images: conmon runs the runtime's `restore` and stays with the container. */
import { EngineError } from '../lib/errors.ts';
import { criuReason } from './checkpoint.ts';
import {
  type CreateContainerArgs,
  createContainer,
  type MonitorDeps,
  type MonitoredContainer,
} from './monitor.ts';

export interface RestoreArgs extends CreateContainerArgs {
  /** Holds CRIU's images. */
  readonly imageDirectory: string;
  /** The security module's profile for all processes, whatever the images say: `apparmor:NAME`, `selinux:LABEL`. */
  readonly securityProfile?: string | undefined;
}

/**
 * Restores a container; its processes run when this returns. When it throws, nothing of it is left.
 * @throws EngineError with CRIU's reason; deadline-exceeded; the signal's reason
 */
export async function restoreContainer(deps: MonitorDeps, args: RestoreArgs): Promise<MonitoredContainer> {
  const { imageDirectory, securityProfile, ...create } = args;
  const options = securityProfile === undefined ? [] : [`--lsm-profile=${securityProfile}`];
  try {
    return await createContainer(deps, { ...create, restore: { imageDirectory, options } });
  } catch (error) {
    const reason = criuReason(`${args.bundle}/restore.log`);
    if (reason === undefined) throw error;
    throw new EngineError('failed-precondition', `restore container ${args.id}: CRIU: ${reason}`, {
      cause: error,
    });
  }
}
