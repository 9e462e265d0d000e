/** A container that runs `true`: what stops a runtime on a host is rarely visible before. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Poller } from '../linux/poll.ts';
import type { OciRuntime } from './oci-runtime.ts';
import { callRuntime } from './runtime-call.ts';
import { runtimeMessage } from './runtime-error.ts';
import { deleteContainer } from './runtime.ts';
import type { Spec } from './spec-types.ts';

/** Beside the roots of the handlers, whose names have no dot in front: what is tried is in no list of containers. */
const trials = '.trials';

/**
 * Runs it, with whatever `change` makes of its spec, and leaves nothing.
 *
 * @throws Error in the runtime's words when it cannot
 */
export async function tryRuntime(
  { poller, runtime: { root, ...runtime } }: { readonly poller: Poller; readonly runtime: OciRuntime },
  change: (spec: Spec) => Promise<Spec> = async (spec) => spec,
): Promise<void> {
  const directory = join(dirname(root), trials);
  const deps = { poller, runtime: { ...runtime, root: join(directory, runtime.name) } };
  for (const path of [root, deps.runtime.root]) mkdirSync(path, { recursive: true, mode: 0o700 });
  const bundle = mkdtempSync(join(directory, 'trial-'));
  const id = `${basename(bundle)}-${process.pid}-${runtime.name}`;
  try {
    mkdirSync(join(bundle, 'rootfs'));
    const cgroupsPath = deps.runtime.systemdCgroup ? `system.slice:gantry:${id}` : `/gantry-${id}`;
    const spec = await change(trialSpec(join(bundle, 'rootfs'), cgroupsPath));
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(spec));
    const result = await callRuntime(deps, {
      what: `run a trial container with ${runtime.path}`,
      args: ['run', '--bundle', bundle, id],
      timeoutMs: 30_000,
    });
    if (result.exitCode === 0) return;
    const message = runtimeMessage(result.stderr);
    throw new Error(message === '' ? `a trial container ended with exit code ${result.exitCode}` : message);
  } finally {
    await deleteContainer(deps, { id, hasEnded: false }).catch(() => undefined);
    rmSync(bundle, { recursive: true, force: true });
  }
}

/** What a daemon that was killed in the middle of one left; the runtime itself has finished it, or is about to. */
export function removeTrials(runtimesDirectory: string): void {
  rmSync(join(runtimesDirectory, trials), { recursive: true, force: true });
}

/** The host's own programs, read-only, in new namespaces and a cgroup of their own. */
function trialSpec(rootfs: string, cgroupsPath: string): Spec {
  const shown = ['/bin', '/usr', '/lib', '/lib64'].map((path) => ({
    destination: path,
    source: path,
    type: 'bind',
    options: ['rbind', 'ro'],
  }));
  return {
    ociVersion: '1.0.2',
    process: { user: { uid: 0, gid: 0 }, args: ['/bin/true'], env: [], cwd: '/' },
    root: { path: rootfs },
    mounts: [
      { destination: '/proc', source: 'proc', type: 'proc' },
      { destination: '/dev', source: 'tmpfs', type: 'tmpfs', options: ['nosuid', 'mode=755'] },
      ...shown,
    ],
    linux: {
      cgroupsPath,
      namespaces: [{ type: 'pid' }, { type: 'mount' }, { type: 'ipc' }, { type: 'uts' }, { type: 'network' }],
    },
  };
}
