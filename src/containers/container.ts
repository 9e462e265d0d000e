/**
 * A container: a process tree in a sandbox, with a root filesystem of its own.
 *
 *      create          start           exit or stop       remove
 *   o -------> creating --> created --> running --> exited -----> (gone)
 *                              |  start failed        ^
 *                              +----------------------+
 *   `unknown`: something of it could not be undone, or its end was not seen; stop and remove still work on it.
 */
import type { ContainerId, ImageId, SandboxId } from '../lib/ids.ts';
import { NamedStore } from '../lib/named-store.ts';
import type { RecordDatabase, Versioned } from '../lib/records.ts';
import type { MonitoredContainer } from '../oci/monitor.ts';
import type { LinuxResources } from '../sandbox/pod-config.ts';
import type { ContainerConfig } from './container-config.ts';

/** Version of the record's shape on disk. */
const containerRecordVersion = 1;

/** Why a container ended, in the words that the kubelet shows. */
export type ExitReason = 'Completed' | 'Error' | 'OOMKilled' | 'StartError' | 'ContainerStatusUnknown';

export type ContainerState =
  | { readonly name: 'creating' }
  | {
      readonly name: 'created';
      /** Left out while the container waits to be restored from a checkpoint. */
      readonly processes?: MonitoredContainer;
    }
  | { readonly name: 'running'; readonly processes: MonitoredContainer; readonly startedAtNs: string }
  | {
      readonly name: 'exited';
      readonly startedAtNs?: string;
      readonly finishedAtNs: string;
      readonly exitCode: number;
      readonly reason: ExitReason;
      readonly message: string;
    }
  | { readonly name: 'unknown'; readonly reason: string };

/** The identity that the container's process was given. */
export interface ContainerUser {
  readonly uid: number;
  readonly gid: number;
  readonly supplementalGroups: readonly number[];
}

export interface Container extends Versioned {
  readonly id: ContainerId;
  readonly sandboxId: SandboxId;
  readonly config: ContainerConfig;
  readonly imageId: ImageId;
  /** The name that the request used, as ContainerStatus gives it back. */
  readonly imageReference: string;
  /** What the images that are mounted were when it was made, by the index of the mount. */
  readonly mountedImages?: Readonly<Record<number, ImageId>>;
  /** The archive or image of the checkpoint that it was made of. */
  readonly restoredFrom?: string;
  readonly runtimeHandler: string;
  readonly createdAtNs: string;
  readonly bootId: string;
  /** Absolute; absent when the request asked for no log. */
  readonly logPath?: string;
  /** As the OCI spec names it: a path, or `slice:prefix:name`. */
  readonly cgroupsPath: string;
  readonly stopSignal: string;
  readonly user: ContainerUser;
  /** What is in force: the request's, changed by updates. */
  readonly resources: LinuxResources;
  readonly state: ContainerState;
}

/** Where the run-time state of one container lies. */
export interface ContainerPaths {
  readonly directory: string;
  readonly bundle: string;
  /** What is bound for a runtime inside of a user namespace; apart from the bundle, which no user of a pod may reach. */
  readonly boundMounts: string;
}

export function containerPaths(stateDirectory: string, id: ContainerId): ContainerPaths {
  const directory = `${stateDirectory}/containers/${id}`;
  return { directory, bundle: directory, boundMounts: `${stateDirectory}/mounts/${id}` };
}

/** Unique among containers: one per sandbox, name and attempt. */
export function containerName(sandboxId: SandboxId, { metadata }: ContainerConfig): string {
  return `${metadata.name}_${sandboxId}_${metadata.attempt}`;
}

/** The processes of a container that may still have some. */
export function processesOf(container: Container): MonitoredContainer | undefined {
  const { state } = container;
  return state.name === 'created' || state.name === 'running' ? state.processes : undefined;
}

/** True while the container has, or may have, a process. */
export function isAlive(container: Container): boolean {
  return container.state.name === 'created' || container.state.name === 'running';
}

/** What happened to a container, as GetContainerEvents tells it. */
interface ContainerEvent {
  readonly kind: 'created' | 'started' | 'stopped' | 'deleted';
  readonly container: Container;
}

export type ContainerStore = NamedStore<ContainerId, Container, ContainerEvent>;

export function openContainerStore(
  database: RecordDatabase,
  onListenerError: (error: unknown) => void,
): ContainerStore {
  return new NamedStore({
    what: 'container',
    records: database.collection<ContainerId, Container>('containers', containerRecordVersion),
    nameOf: (container) => containerName(container.sandboxId, container.config),
    onListenerError,
  });
}

/** The containers of one sandbox, also those that are still being made. */
export function containersOf(store: ContainerStore, sandboxId: SandboxId): Container[] {
  return store.all().filter((container) => container.sandboxId === sandboxId);
}
