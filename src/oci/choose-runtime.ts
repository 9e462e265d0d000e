/** Which runtime works on this host: said at start, with the reason, instead of failing at the first pod. */
import { EngineError, messageOf } from '../lib/errors.ts';
import type { Poller } from '../linux/poll.ts';
import { identifyRuntime } from './runtime-version.ts';
import type { OciRuntime } from './oci-runtime.ts';
import { readOnlyPathOf } from './read-only-program.ts';
import { tryRuntime } from './trial.ts';

interface RejectedRuntime {
  readonly runtime: OciRuntime;
  readonly reason: string;
}

export interface RuntimeChoice {
  /** The first candidate that ran a container here. */
  readonly runtime: OciRuntime;
  /** The candidates before it and why they were passed over. */
  readonly rejected: readonly RejectedRuntime[];
}

export interface RuntimeHost {
  /** State of the runtimes: one directory below it for each. */
  readonly rootDirectory: string;
  readonly systemdCgroup: boolean;
}

/** Reads version and kind. @throws EngineError failed-precondition when the program is missing or does not answer */
export async function loadRuntime(
  host: RuntimeHost,
  { name, path }: { readonly name: string; readonly path: string },
): Promise<OciRuntime> {
  const identity = await identifyRuntime(path);
  return {
    name,
    path,
    ...identity,
    readOnlyPath: identity.kind === 'crun' ? await usableReadOnlyPath(path) : undefined,
    root: `${host.rootDirectory}/${name}`,
    systemdCgroup: host.systemdCgroup,
  };
}

/** Policies that go by a program's path may refuse it there. */
async function usableReadOnlyPath(path: string): Promise<string | undefined> {
  const readOnlyPath = readOnlyPathOf(path);
  if (readOnlyPath === undefined) return undefined;
  return await identifyRuntime(readOnlyPath).then(
    () => readOnlyPath,
    () => undefined,
  );
}

/**
 * Tries the candidates in order with a container that runs `true`. What stops a runtime is rarely visible before: crun 1.8 refuses
 * hosts with controllers in a second, cgroup2 hierarchy, others want a newer kernel.
 * @throws EngineError failed-precondition with every candidate's reason when none works
 */
export async function chooseRuntime(
  deps: { readonly poller: Poller },
  candidates: readonly OciRuntime[],
): Promise<RuntimeChoice> {
  const rejected: RejectedRuntime[] = [];
  for (const runtime of candidates) {
    try {
      await tryRuntime({ ...deps, runtime });
      return { runtime, rejected };
    } catch (error) {
      rejected.push({ runtime, reason: messageOf(error) });
    }
  }
  const reasons = rejected.map(({ runtime, reason }) => `${runtime.name}: ${reason}`);
  throw new EngineError(
    'failed-precondition',
    `no container runtime works on this host: ${reasons.join('; ')}`,
  );
}
