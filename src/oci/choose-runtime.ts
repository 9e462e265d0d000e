/** Which runtime works on this host: said at start, with the reason, instead of failing at the first pod. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EngineError, messageOf } from '../lib/errors.ts';
import type { Poller } from '../linux/poll.ts';
import { callRuntime } from './runtime-call.ts';
import { runtimeMessage } from './runtime-error.ts';
import { identifyRuntime } from './runtime-version.ts';
import type { OciRuntime } from './oci-runtime.ts';
import { deleteContainer } from './runtime.ts';
import type { Spec } from './spec-types.ts';

/** One runtime of the configuration. */
export interface RuntimeCandidate {
  readonly name: string;
  readonly path: string;
}

export interface RuntimeChoice {
  /** The first candidate that ran a container here. */
  readonly runtime: OciRuntime;
  /** The candidates before it and why they were passed over. */
  readonly rejected: readonly { readonly candidate: RuntimeCandidate; readonly reason: string }[];
}

export interface RuntimeHost {
  /** State of the runtimes: one directory below it for each. */
  readonly rootDirectory: string;
  readonly systemdCgroup: boolean;
}

/** Reads version and kind. @throws EngineError failed-precondition when the program is missing or does not answer */
export async function loadRuntime(host: RuntimeHost, candidate: RuntimeCandidate): Promise<OciRuntime> {
  const identity = await identifyRuntime(candidate.path);
  return {
    ...candidate,
    ...identity,
    root: `${host.rootDirectory}/${candidate.name}`,
    systemdCgroup: host.systemdCgroup,
  };
}

/**
 * Tries the candidates in order with a container that runs `true`. What stops a runtime is rarely visible before: crun 1.8 refuses
 * hosts with controllers in a second, cgroup2 hierarchy, others want a newer kernel.
 * @throws EngineError failed-precondition with every candidate's reason when none works
 */
export async function chooseRuntime(
  deps: { readonly poller: Poller },
  args: RuntimeHost & { readonly candidates: readonly RuntimeCandidate[] },
): Promise<RuntimeChoice> {
  const rejected: { readonly candidate: RuntimeCandidate; readonly reason: string }[] = [];
  for (const candidate of args.candidates) {
    try {
      const runtime = await loadRuntime(args, candidate);
      await tryRuntime({ ...deps, runtime });
      return { runtime, rejected };
    } catch (error) {
      rejected.push({ candidate, reason: messageOf(error) });
    }
  }
  const reasons = rejected.map(({ candidate, reason }) => `${candidate.name}: ${reason}`);
  throw new EngineError(
    'failed-precondition',
    `no container runtime works on this host: ${reasons.join('; ')}`,
  );
}

async function tryRuntime(deps: { readonly poller: Poller; readonly runtime: OciRuntime }): Promise<void> {
  mkdirSync(deps.runtime.root, { recursive: true, mode: 0o700 });
  const bundle = mkdtempSync(join(deps.runtime.root, '..', 'trial-'));
  const id = `trial-${process.pid}-${deps.runtime.name}`;
  try {
    mkdirSync(join(bundle, 'rootfs'));
    const cgroupsPath = deps.runtime.systemdCgroup ? `system.slice:gantry:${id}` : `/gantry-${id}`;
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(trialSpec(cgroupsPath)));
    const result = await callRuntime(deps, {
      what: `run a trial container with ${deps.runtime.path}`,
      args: ['run', '--bundle', bundle, id],
      timeoutMs: 30_000,
    });
    if (result.exitCode === 0) return;
    const message = runtimeMessage(result.stderr);
    throw new Error(message === '' ? `a trial container ended with exit code ${result.exitCode}` : message);
  } finally {
    await deleteContainer(deps, { id, force: true }).catch(() => undefined);
    rmSync(bundle, { recursive: true, force: true });
  }
}

/** The host's own programs, read-only, in new namespaces and a cgroup of their own. */
function trialSpec(cgroupsPath: string): Spec {
  const shown = ['/bin', '/usr', '/lib', '/lib64'].map((path) => ({
    destination: path,
    source: path,
    type: 'bind',
    options: ['rbind', 'ro'],
  }));
  return {
    ociVersion: '1.0.2',
    process: { user: { uid: 0, gid: 0 }, args: ['/bin/true'], env: [], cwd: '/' },
    root: { path: 'rootfs' },
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
