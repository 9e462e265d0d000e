/**
 * The process that keeps a PID namespace which the containers of a pod share: `catatonit -P`, which reaps what they
 * leave. It runs as an ordinary container with nothing in its root but itself: a bare process of the node there would
 * show the node's file system to the pod as /proc/1/root.
 */
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SandboxId } from '../lib/ids.ts';
import {
  awaitMonitor,
  createContainer,
  type MonitorDeps,
  type MonitoredContainer,
  type StoredProcess,
} from '../oci/monitor.ts';
import { deleteContainer } from '../oci/runtime.ts';
import { startCreated } from '../oci/start.ts';
import type { Namespace, Spec } from '../oci/spec-types.ts';
import type { SandboxDeps } from './deps.ts';
import type { IdMapping } from './pod-config.ts';
import { sandboxPaths, type Sandbox, type SandboxNamespaces } from './sandbox.ts';
import { podIds } from './user-namespace.ts';

export interface HolderOptions {
  readonly stateDirectory: string;
  /** Absolute path of catatonit. @throws EngineError failed-precondition if it is not installed */
  readonly program: () => string;
  readonly monitorDeps: (handler: string) => MonitorDeps;
  readonly cgroupsPathFor: (sandbox: Sandbox) => string;
  /** Begins to watch for its end, also where its monitor dies first. */
  readonly watchExit: (id: SandboxId, processes: MonitoredContainer) => void;
  /** Removes what its monitor told of its end, and all memory of it. Idempotent. */
  readonly forgetExit: (id: SandboxId) => void;
}

const nobody = 65534;

export function createPidHolder(options: HolderOptions): SandboxDeps['holder'] {
  // Of sandboxes that are being made: their records do not name them yet.
  const monitors = new Map<SandboxId, StoredProcess>();
  return {
    async start(sandbox, namespaces, signal) {
      const created = await createHolder(options, { sandbox, namespaces }, signal);
      const { id } = sandbox;
      monitors.set(id, created.monitor);
      options.watchExit(id, created);
      await startCreated(options.monitorDeps(sandbox.runtimeHandler), {
        id,
        process: created.process,
        signal,
      });
      return created;
    },
    watch({ id, state }) {
      if (state.name !== 'ready' || state.holder === undefined) return;
      const { holder: process, holderMonitor: monitor = process } = state;
      options.watchExit(id, { process, monitor });
    },
    async stop(sandbox) {
      const recorded = sandbox.state.name === 'ready' ? sandbox.state.holderMonitor : undefined;
      await stopHolder(options, sandbox, monitors.get(sandbox.id) ?? recorded);
      monitors.delete(sandbox.id);
    },
  };
}

interface Held {
  readonly sandbox: Sandbox;
  readonly namespaces: SandboxNamespaces;
}

async function createHolder(
  options: HolderOptions,
  { sandbox, namespaces }: Held,
  signal: AbortSignal,
): Promise<MonitoredContainer> {
  const deps = options.monitorDeps(sandbox.runtimeHandler);
  const bundle = bundleOf(options, sandbox);
  for (const name of ['dev', 'proc']) mkdirSync(`${bundle}/rootfs/${name}`, { recursive: true, mode: 0o755 });
  // All that is mounted upon is there: the root of a user namespace can make nothing in it.
  writeFileSync(`${bundle}/rootfs/catatonit`, '');
  const spec = holderSpec({
    program: options.program(),
    namespaces,
    ids: podIds(sandbox.config),
    cgroupsPath: options.cgroupsPathFor(sandbox),
  });
  writeFileSync(`${bundle}/config.json`, JSON.stringify(spec), { mode: 0o600 });
  return await createContainer(deps, {
    id: sandbox.id,
    bundle,
    terminal: false,
    stdin: 'none',
    signal,
  });
}

async function stopHolder(
  options: HolderOptions,
  sandbox: Sandbox,
  monitor: StoredProcess | undefined,
): Promise<void> {
  const deps = options.monitorDeps(sandbox.runtimeHandler);
  const state = join(deps.runtime.root, sandbox.id);
  // The bundle may be gone although the runtime still has the holder: deleting it failed the last time.
  if (!existsSync(bundleOf(options, sandbox)) && !existsSync(state)) return;
  await deleteContainer(deps, { id: sandbox.id, hasEnded: false });
  // What a runtime that was killed in the middle left, and does not know as a container any more.
  rmSync(state, { recursive: true, force: true });
  // Its last act is to write the exit file, which nobody asks for.
  if (monitor !== undefined) await awaitMonitor(deps, monitor);
  options.forgetExit(sandbox.id);
}

function bundleOf({ stateDirectory }: HolderOptions, sandbox: Sandbox): string {
  return `${sandboxPaths(stateDirectory, sandbox.id).directory}/holder`;
}

interface HolderParts {
  readonly program: string;
  readonly namespaces: SandboxNamespaces;
  /** Of the pod's user namespace. */
  readonly ids: IdMapping | undefined;
  readonly cgroupsPath: string;
}

function holderSpec({ program, namespaces, ids, cgroupsPath }: HolderParts): Spec {
  const joined = (type: Namespace['type'], path: string | undefined): Namespace[] =>
    path === undefined ? [] : [{ type, path }];
  const ociIds =
    ids === undefined ? [] : [{ containerID: ids.containerId, hostID: ids.hostId, size: ids.length }];
  // Without capabilities root is nobody special either.
  const user = ids !== undefined && ids.length <= nobody ? 0 : nobody;
  return {
    ociVersion: '1.0.2',
    process: {
      user: { uid: user, gid: user },
      args: ['/catatonit', '-P'],
      env: [],
      cwd: '/',
      noNewPrivileges: true,
      capabilities: { bounding: [], effective: [], inheritable: [], permitted: [], ambient: [] },
      rlimits: [{ type: 'RLIMIT_NOFILE', soft: 1024, hard: 1024 }],
    },
    root: { path: 'rootfs', readonly: true },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
      // The root lies below /run, which is nodev where systemd has mounted it: runc could not open its /dev/null.
      {
        destination: '/dev',
        type: 'tmpfs',
        source: 'tmpfs',
        options: ['nosuid', 'noexec', 'mode=755', 'size=64k'],
      },
      {
        destination: '/catatonit',
        type: 'bind',
        source: program,
        options: ['bind', 'ro', 'nosuid', 'nodev'],
      },
    ],
    linux: {
      cgroupsPath,
      namespaces: [
        { type: 'pid' },
        { type: 'mount' },
        ...joined('network', namespaces.net),
        ...joined('ipc', namespaces.ipc),
        ...joined('uts', namespaces.uts),
        ...joined('user', namespaces.user),
      ],
      ...(ids === undefined ? {} : { uidMappings: ociIds, gidMappings: ociIds }),
      maskedPaths: ['/proc/kcore', '/proc/keys', '/proc/timer_list'],
      readonlyPaths: ['/proc/sys', '/proc/sysrq-trigger', '/proc/irq', '/proc/bus'],
    },
  };
}
