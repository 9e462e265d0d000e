import { unixNowNs } from '../lib/clock.ts';
import { EngineError } from '../lib/errors.ts';
import { newSandboxId, type SandboxId } from '../lib/ids.ts';
import { isSameJson } from '../lib/same-json.ts';
import { undoFailed } from '../lib/undo.ts';
import { phase } from '../telemetry/traces/phase.ts';
import type { PinnedKind, SandboxDeps } from './deps.ts';
import { makeSandboxFiles } from './files.ts';
import { isHolderGone } from './holder-ended.ts';
import type { PodConfig } from './pod-config.ts';
import { sandboxName, sandboxPaths, type Sandbox, type SandboxNamespaces } from './sandbox.ts';
import { checkSysctls } from './sysctls.ts';
import { teardownSandbox } from './teardown.ts';
import { checkUserNamespace, podIds } from './user-namespace.ts';

export interface RunRequest {
  readonly config: PodConfig;
  /** As the pod's RuntimeClass names it; empty for the default. */
  readonly runtimeHandler: string;
}

/**
 * Makes a pod sandbox; it is ready when this returns. Whatever fails, or a client that leaves, undoes all of it. Asked again
 * for a pod that is ready, with the same request, it gives that one.
 * If the undoing itself fails the record stays, in state `unknown`, so that a later stop can finish it.
 *
 * @throws EngineError invalid-argument, already-exists, failed-precondition, and what the drivers throw
 */
export async function runSandbox(
  deps: SandboxDeps,
  request: RunRequest,
  signal: AbortSignal,
): Promise<Sandbox> {
  const { config } = request;
  checkSysctls(config);
  checkUserNamespace(config);
  const runtimeHandler = deps.runtimes.handlerFor(request.runtimeHandler);
  if (podIds(config) !== undefined)
    await deps.runtimes.mustMapUsers(runtimeHandler, config.namespaces.network.mode === 'node');
  const name = sandboxName(config);
  using _ = await phase('wait for the name', () => deps.store.nameLocks.acquire(name, signal));
  const existing = deps.store.byName(name);
  if (existing !== undefined) {
    if (isRetryOf(existing, config, runtimeHandler)) return existing;
    throw new EngineError('already-exists', `pod sandbox name ${name} is in use by ${existing.id}`);
  }
  const sandbox = await phase('record', () => reserve(deps, config, runtimeHandler));
  try {
    return await build(deps, sandbox, signal);
  } catch (error) {
    await phase('undo', () => undo(deps, sandbox, error)).finally(() => deps.plugins.abandoned(sandbox));
    throw error;
  }
}

/**
 * A client that has gone (its deadline, its own end) may ask again for a pod that was finished all the same, and no reply
 * proves that it was received: the same request for the same name is given the same pod.
 */
function isRetryOf({ state, ...existing }: Sandbox, config: PodConfig, runtimeHandler: string): boolean {
  if (state.name !== 'ready' || existing.runtimeHandler !== runtimeHandler) return false;
  return isSameJson(existing.config, config);
}

function reserve(deps: SandboxDeps, config: PodConfig, runtimeHandler: string): Sandbox {
  const id = newSandboxId();
  const sandbox: Sandbox = {
    version: 1,
    id,
    config,
    runtimeHandler,
    createdAtNs: String(unixNowNs()),
    bootId: deps.bootId,
    cgroup: deps.cgroups.forPod(id, config.cgroupParent),
    state: { name: 'creating' },
  };
  deps.store.add(sandbox);
  return sandbox;
}

async function build(deps: SandboxDeps, sandbox: Sandbox, signal: AbortSignal): Promise<Sandbox> {
  const { id, config } = sandbox;
  deps.cgroups.expectContainers();
  const namespaces = await phase('namespaces', () => pinNamespaces(deps, sandbox));
  signal.throwIfAborted();
  const { net } = namespaces;
  const ips = net === undefined ? [] : await phase('network', () => attach(deps, sandbox, net, signal));
  await phase('files', () => makeSandboxFiles(sandboxPaths(deps.stateDirectory, id), config, ips));
  if (sandbox.cgroup.isOwn) await phase('cgroup', () => deps.cgroups.makeOwn(sandbox.cgroup.parent));
  const held = await holdPidNamespace(deps, sandbox, namespaces, signal);
  const state = { name: 'ready', ips, ...held } as const;
  await deps.plugins.running({ ...sandbox, state }, signal);
  signal.throwIfAborted();
  // Its end was told while no record named it; from the record on the end stops the pod.
  if (isHolderGone(state)) throw holderGone(id);
  return await phase('record', () => {
    const ready = deps.store.update(id, (old) => ({ ...old, state }));
    deps.store.events.emit({ kind: 'created', sandbox: ready });
    deps.store.events.emit({ kind: 'started', sandbox: ready });
    return ready;
  });
}

async function pinNamespaces(deps: SandboxDeps, { id, config }: Sandbox): Promise<SandboxNamespaces> {
  const { network, ipc } = config.namespaces;
  // A pod on the node's network has the node's host name too: its UTS namespace would show another one.
  const kinds: PinnedKind[] = network.mode === 'node' ? [] : ['net', 'uts'];
  if (ipc.mode !== 'node') kinds.push('ipc');
  const ids = podIds(config);
  if (kinds.length === 0 && ids === undefined) return {};
  const { namespaces: directory } = sandboxPaths(deps.stateDirectory, id);
  await deps.namespaces.pin({
    kinds,
    directory,
    ...(config.hostname === undefined || network.mode === 'node' ? {} : { hostname: config.hostname }),
    sysctls: config.sysctls,
    ...(ids === undefined ? {} : { ids: { uids: [ids], gids: [ids] } }),
  });
  const pinned = ids === undefined ? kinds : [...kinds, 'user'];
  return Object.fromEntries(pinned.map((kind) => [kind, `${directory}/${kind}`]));
}

async function attach(
  deps: SandboxDeps,
  sandbox: Sandbox,
  netnsPath: string,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const { id, config } = sandbox;
  const { name, namespace, uid } = config.metadata;
  const { ips } = await deps.networks.attach(
    {
      sandboxId: id,
      netnsPath,
      pod: { name, namespace, uid },
      portMappings: config.portMappings,
      annotations: config.annotations,
      cgroupPath: sandbox.cgroup.parent,
      dns: config.dns,
    },
    signal,
  );
  return ips;
}

function holderGone(id: SandboxId): EngineError {
  return new EngineError(
    'failed-precondition',
    `pod sandbox ${id}: the process that keeps the PID namespace of the pod has ended`,
  );
}

async function holdPidNamespace(
  deps: SandboxDeps,
  sandbox: Sandbox,
  namespaces: SandboxNamespaces,
  signal: AbortSignal,
) {
  if (sandbox.config.namespaces.pid.mode !== 'pod') return { namespaces };
  const { process: holder, monitor: holderMonitor } = await phase('holder of the PID namespace', () =>
    deps.holder.start(sandbox, namespaces, signal),
  );
  return { namespaces: { ...namespaces, pid: `/proc/${holder.pid}/ns/pid` }, holder, holderMonitor };
}

async function undo(deps: SandboxDeps, sandbox: Sandbox, reason: unknown): Promise<void> {
  const { id } = sandbox;
  await undoFailed({
    what: 'starting it',
    reason,
    undo: async () => {
      await teardownSandbox(deps, sandbox);
      deps.store.delete(id);
    },
    keepAsUnknown: (text) =>
      deps.store.update(id, (old) => ({ ...old, state: { name: 'unknown', reason: text } })),
  });
}
