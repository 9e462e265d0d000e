/** What the operations on sandboxes need of the rest, in their own words. `daemon.ts` passes it. */
import type { SandboxId } from '../lib/ids.ts';
import type { IdMapping, LinuxResources, PodConfig, PortMapping } from './pod-config.ts';
import type { MonitoredContainer } from '../oci/monitor.ts';
import type { Sandbox, SandboxNamespaces, SandboxStore } from './sandbox.ts';

/** Namespaces that a sandbox can pin. */
export type PinnedKind = 'net' | 'ipc' | 'uts';

/** The resources of a pod as a whole; what is left out stays. */
export interface PodResources {
  readonly overhead: LinuxResources | undefined;
  readonly resources: LinuxResources | undefined;
}

interface PodAttachRequest {
  readonly sandboxId: SandboxId;
  readonly netnsPath: string;
  readonly pod: { readonly name: string; readonly namespace: string; readonly uid: string };
  readonly portMappings: readonly PortMapping[];
  readonly annotations: Readonly<Record<string, string>>;
  readonly cgroupPath: string;
  readonly dns?: PodConfig['dns'];
}

export interface SandboxDeps {
  readonly store: SandboxStore;
  /** Run-time state of the daemon, such as `/run/gantry`. */
  readonly stateDirectory: string;
  readonly bootId: string;
  readonly namespaces: {
    /**
     * Makes namespaces and binds each to `<directory>/<kind>`; `lo` is up in a new network namespace. With `ids` they
     * belong to a new user namespace, which is bound to `<directory>/user`.
     */
    pin(request: {
      readonly kinds: readonly PinnedKind[];
      readonly directory: string;
      readonly hostname?: string;
      readonly sysctls?: Readonly<Record<string, string>>;
      readonly ids?: { readonly uids: readonly IdMapping[]; readonly gids: readonly IdMapping[] };
    }): Promise<unknown>;
    /** Closes what keeps those of a sandbox alive: called when they are unpinned, so that none is entered any more. Idempotent. */
    release(id: SandboxId): void;
  };
  readonly networks: {
    attach(request: PodAttachRequest, signal: AbortSignal): Promise<{ readonly ips: readonly string[] }>;
    /** Idempotent; works without the network namespace. */
    detach(id: SandboxId): Promise<void>;
  };
  readonly cgroups: {
    /** The cgroup of a pod: the caller's if it names one, else one of ours. @throws EngineError invalid-argument */
    forPod(id: SandboxId, requested: string | undefined): Sandbox['cgroup'];
    /** Containers will be made soon: gets the kernel ready for it, in the background. */
    expectContainers(): void;
    /** Makes a cgroup of ours. */
    makeOwn(parent: string): void;
    /** Removes a cgroup of ours with what is left below it. Idempotent. */
    removeOwn(parent: string): Promise<void>;
  };
  readonly holder: {
    /** Starts the process that keeps a shared PID namespace, and watches it; it is in the pod's cgroup and namespaces. */
    start(sandbox: Sandbox, namespaces: SandboxNamespaces, signal: AbortSignal): Promise<MonitoredContainer>;
    /** Watches that of a ready pod again, after a restart: its end is heard of even if its monitor has died. */
    watch(sandbox: Sandbox): void;
    /** Ends it and all that it left. Idempotent, also when it never started. */
    stop(sandbox: Sandbox): Promise<void>;
  };
  /** What takes part in the lives of pods from outside. Without a plugin each call returns at once. */
  readonly plugins: {
    /** Of a pod that is about to be ready. @throws EngineError failed-precondition when one refuses it */
    running(sandbox: Sandbox, signal: AbortSignal): Promise<void>;
    /** A pod that plugins may have been told of has not become ready after all. */
    abandoned(sandbox: Sandbox): void;
    /** Of a pod whose containers have stopped and whose namespaces are still there. What plugins say does not keep it from stopping. */
    stopping(sandbox: Sandbox): Promise<void>;
    /** @throws EngineError failed-precondition when one refuses */
    updating(sandbox: Sandbox, request: PodResources, signal: AbortSignal): Promise<void>;
    updated(sandbox: Sandbox): void;
  };
  readonly runtimes: {
    /** The handler to use for what a pod asked. @throws EngineError invalid-argument for an unknown one */
    handlerFor(requested: string): string;
    /** @throws EngineError failed-precondition saying why no user namespaces can be had with this handler */
    mustMapUsers(handler: string, usesNodeNetwork: boolean): Promise<void>;
  };
  readonly containers: {
    /** Kills and reaps every container of the sandbox. */
    stopAll(id: SandboxId): Promise<void>;
    /** Removes every container of the sandbox. */
    removeAll(id: SandboxId): Promise<void>;
  };
}
