/** Which runtime works on this host: said at start, with the reason, instead of failing at the first pod. */
import { EngineError, messageOf } from '../lib/errors.ts';
import type { Poller } from '../linux/poll.ts';
import { identifyRuntime } from './runtime-version.ts';
import type { OciRuntime } from './oci-runtime.ts';
import { tryRuntime } from './trial.ts';

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
