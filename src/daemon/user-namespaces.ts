/**
 * Whether pods can have user namespaces here: tried, not looked up. The kernel has to make them and to map the ids of the
 * file system that holds the images under overlayfs, and the runtime has to enter one.
 */
import { chownSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { makeBoundMounts, removeBoundMounts } from '../containers/bound-mounts.ts';
import { isKind, messageOf } from '../lib/errors.ts';
import { bindMount, unmount } from '../linux/mount.ts';
import { mountOverlay } from '../linux/overlay.ts';
import type { PathWorkers } from '../linux/path-worker.ts';
import type { Poller } from '../linux/poll.ts';
import { unmountTree } from '../linux/unmount-tree.ts';
import { startInUserNamespace } from '../linux/user-namespace.ts';
import type { OciRuntime } from '../oci/oci-runtime.ts';
import type { Namespace, Spec } from '../oci/spec-types.ts';
import { removeTrials, tryRuntime } from '../oci/trial.ts';
import type { Log } from '../telemetry/log.ts';
import type { Directories } from './directories.ts';

interface UserNamespaceTrialDeps {
  readonly directories: Pick<Directories, 'snapshots' | 'state' | 'runtimes'>;
  readonly poller: Poller;
  readonly paths: PathWorkers;
  readonly log: Log;
  /** How long an answer holds that was given for want of time. */
  readonly retryAfterMs?: number;
}

/** Why pods have none, on a network of their own and on the node's; undefined where they have. */
export interface UserNamespaceProblems {
  readonly podNetwork?: string;
  readonly nodeNetwork?: string;
}

/** As the kubelet gives out by default: ids that no user of the node has. */
const ids = { containerId: 0, hostId: 65_536, length: 65_536 };
const prefix = 'userns-trial-';

const defaultRetryAfterMs = 60_000;

/**
 * Tries each runtime once in the life of the daemon, when it is first asked about: nothing else has to wait for that. On a node that
 * was too busy to end the trial in time it is repeated later. Disposing waits for trials under way.
 */
export class UserNamespaceTrials implements AsyncDisposable {
  readonly #deps: UserNamespaceTrialDeps;
  readonly #answers = new Map<string, Promise<UserNamespaceProblems>>();
  /** Of the answers that were given for want of time, by performance.now(). */
  readonly #repeatAt = new Map<string, number>();
  readonly #underWay = new Set<Promise<unknown>>();

  constructor(deps: UserNamespaceTrialDeps) {
    sweep(deps);
    this.#deps = deps;
  }

  /** Never rejects. */
  async problemsOf(runtime: OciRuntime): Promise<UserNamespaceProblems> {
    const { name } = runtime;
    const known = this.#answers.get(name);
    if (known === undefined) {
      const first = this.#try(runtime);
      this.#answers.set(name, first);
      return await first;
    }
    if (performance.now() >= (this.#repeatAt.get(name) ?? Infinity)) {
      this.#repeatAt.delete(name);
      // A node's status is not kept waiting by what was slow before: until the end of this one the old answer holds.
      const again = this.#try(runtime);
      void again.then(() => this.#answers.set(name, again));
    }
    return await known;
  }

  async #try(runtime: OciRuntime): Promise<UserNamespaceProblems> {
    const trial = tryUserNamespaces(this.#deps, runtime);
    this.#underWay.add(trial);
    const { problems, wasTooSlow } = await trial;
    this.#underWay.delete(trial);
    if (wasTooSlow) {
      const pause = this.#deps.retryAfterMs ?? defaultRetryAfterMs;
      this.#repeatAt.set(runtime.name, performance.now() + pause);
    }
    return problems;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#underWay);
  }
}

interface Outcome {
  readonly problems: UserNamespaceProblems;
  readonly wasTooSlow: boolean;
}

async function tryUserNamespaces(deps: UserNamespaceTrialDeps, runtime: OciRuntime): Promise<Outcome> {
  const { name: handler } = runtime;
  const problems: Partial<Record<keyof UserNamespaceProblems, string>> = {};
  let wasTooSlow = false;
  for (const network of ['pod', 'node'] as const) {
    try {
      await runInside(deps, runtime, network);
    } catch (error) {
      const reason = messageOf(error);
      deps.log.info({ handler, network, reason }, 'pods cannot have user namespaces');
      problems[`${network}Network`] = reason;
      wasTooSlow ||= isKind(error, 'deadline-exceeded', 'unavailable');
    }
  }
  return { problems, wasTooSlow };
}

/** What a daemon that was killed in the middle of a trial left mounted. */
function sweep({ directories }: UserNamespaceTrialDeps): void {
  for (const name of readdirSync(`${directories.state}/mounts`))
    if (name.startsWith(prefix)) removeBoundMounts(`${directories.state}/mounts/${name}`);
  for (const name of readdirSync(directories.snapshots))
    if (name.startsWith(prefix)) removeRoot(join(directories.snapshots, name));
  removeTrials(directories.runtimes);
}

async function runInside(
  deps: UserNamespaceTrialDeps,
  runtime: OciRuntime,
  network: 'pod' | 'node',
): Promise<void> {
  const { directories, poller, paths } = deps;
  const kinds = network === 'pod' ? (['net', 'ipc', 'uts'] as const) : (['ipc'] as const);
  await using holder = await startInUserNamespace(poller, { uids: [ids], gids: [ids] }, kinds);
  const namespaces = `/proc/${holder.pid}/ns`;
  const directory = mkdtempSync(join(directories.snapshots, prefix));
  const boundMounts = `${directories.state}/mounts/${directory.slice(directory.lastIndexOf('/') + 1)}`;
  try {
    const rootfs = mountRoot(directory, `${namespaces}/user`);
    await tryRuntime({ poller, runtime }, async (spec) =>
      makeBoundMounts(
        { paths, poller },
        { spec: insideSpec(spec, { rootfs, namespaces, network }), directory: boundMounts, runtime },
      ),
    );
  } finally {
    removeBoundMounts(boundMounts);
    removeRoot(directory);
  }
}

/** An overlay as a container has it: lower directories mapped, the upper one owned by the root of the pod. */
function mountRoot(directory: string, userNamespace: string): string {
  const [layers = '', view = '', upper = '', work = '', rootfs = ''] = [
    'layers',
    'view',
    'upper',
    'work',
    'rootfs',
  ].map((name) => {
    mkdirSync(join(directory, name), { mode: 0o755 });
    return join(directory, name);
  });
  mkdirSync(join(layers, 'fs'));
  chownSync(upper, ids.hostId, ids.hostId);
  bindMount(layers, view, { idsOf: userNamespace });
  mountOverlay({ lowerDirs: [join(view, 'fs')], upperDir: upper, workDir: work, target: rootfs });
  unmount(view, { lazy: true });
  return rootfs;
}

function removeRoot(directory: string): void {
  unmountTree(directory);
  rmSync(directory, { recursive: true, force: true });
}

interface Inside {
  readonly rootfs: string;
  /** `/proc/PID/ns`. */
  readonly namespaces: string;
  readonly network: 'pod' | 'node';
}

function insideSpec(spec: Spec, { rootfs, namespaces, network }: Inside): Spec {
  const joined = (type: Namespace['type'], file: string): Namespace => ({
    type,
    path: `${namespaces}/${file}`,
  });
  const mappings = [{ containerID: ids.containerId, hostID: ids.hostId, size: ids.length }];
  const sys =
    network === 'pod'
      ? { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['ro'] }
      : {
          destination: '/sys',
          type: 'bind',
          source: '/sys',
          options: ['rbind', 'rprivate', 'nosuid', 'noexec', 'nodev', 'ro'],
        };
  return {
    ...spec,
    root: { path: rootfs },
    mounts: [...spec.mounts, { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue' }, sys],
    linux: {
      ...spec.linux,
      uidMappings: mappings,
      gidMappings: mappings,
      namespaces: [
        { type: 'pid' },
        { type: 'mount' },
        joined('user', 'user'),
        joined('ipc', 'ipc'),
        ...(network === 'pod' ? [joined('network', 'net'), joined('uts', 'uts')] : []),
      ],
    },
  };
}
