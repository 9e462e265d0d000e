import { rmSync } from 'node:fs';
import { tearDown, type TeardownStep } from '../lib/teardown.ts';
import { phase } from '../telemetry/traces/phase.ts';
import { dropRestoreWork } from './checkpoints/work-directory.ts';
import { containerPaths, type Container } from './container.ts';
import type { ContainerDeps } from './deps.ts';

/** After the end of a container: gives back what only a living one needs. Its writable layer and its log stay. Idempotent. */
export async function releaseProcesses(deps: ContainerDeps, container: Container): Promise<void> {
  const paths = containerPaths(deps.stateDirectory, container.id);
  const steps: readonly TeardownStep[] = [
    ['delete it from the runtime', async () => await deps.runtime.delete(container)],
    ['end what is left in its cgroup', async () => await deps.cgroups.destroy(container.cgroupsPath)],
    ['forget its checkpoint', async () => await dropRestoreWork(deps, container.id)],
    ['unmount its root filesystem', async () => await deps.images.unmountSnapshot(container.id)],
    ['unmount its volumes', async () => await deps.mounts.release(paths)],
  ];
  await tearDown(`container ${container.id}`, steps, phase);
}

/** Gives back all that a container may hold, whatever state it was left in. Idempotent. */
export async function releaseContainer(deps: ContainerDeps, container: Container): Promise<void> {
  const { directory } = containerPaths(deps.stateDirectory, container.id);
  const steps: readonly TeardownStep[] = [
    ['release', async () => await releaseProcesses(deps, container)],
    ['forget its exit', () => deps.exits.forget(container.id)],
    ['remove its writable layer', async () => await deps.images.removeSnapshot(container.id)],
    ['remove its volumes', async () => await deps.volumes.remove(container.id)],
    ['remove its files', () => rmSync(directory, { recursive: true, force: true })],
  ];
  await tearDown(`container ${container.id}`, steps, phase);
}
