import { rmSync } from 'node:fs';
import { tearDown, type TeardownStep } from '../lib/teardown.ts';
import { unmountTree } from '../linux/unmount-tree.ts';
import { phase } from '../telemetry/traces/phase.ts';
import type { SandboxDeps } from './deps.ts';
import { sandboxPaths, type Sandbox } from './sandbox.ts';

/** Gives back everything that a sandbox may hold in the kernel, by the paths and names that its record implies. Idempotent. */
export async function teardownSandbox(deps: SandboxDeps, sandbox: Sandbox): Promise<void> {
  const { directory } = sandboxPaths(deps.stateDirectory, sandbox.id);
  const steps: readonly TeardownStep[] = [
    ['end the PID namespace’s holder', async () => await deps.holder.stop(sandbox)],
    ['detach the network', async () => await deps.networks.detach(sandbox.id)],
    ['unmount', () => unmountTree(directory)],
    ['release the namespaces', () => deps.namespaces.release(sandbox.id)],
    ['remove the files', () => rmSync(directory, { recursive: true, force: true })],
    ['remove the cgroup', async () => await removeCgroup(deps, sandbox)],
  ];
  await tearDown(`pod sandbox ${sandbox.id}`, steps, phase);
}

async function removeCgroup(deps: SandboxDeps, { cgroup }: Sandbox): Promise<void> {
  // A parent that the caller named is the caller's: the kubelet removes it.
  if (cgroup.isOwn) await deps.cgroups.removeOwn(cgroup.parent);
}
