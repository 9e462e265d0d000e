/**
 * A pod sandbox: pinned namespaces, a cgroup and a network attachment, without a process of its own (unless the
 * pod shares one PID namespace, which a holder process then keeps).
 *
 *      run            stop                remove
 *   o ------> creating ------> ready ------> not-ready ------> (gone)
 *                |               |               ^
 *                | undo failed   | undo failed   | stop again
 *                +-----> unknown <---------------+
 */
import type { SandboxId } from '../lib/ids.ts';
import { NamedStore } from '../lib/named-store.ts';
import type { RecordDatabase, Versioned } from '../lib/records.ts';
import type { StoredProcess } from '../oci/monitor.ts';
import type { PodConfig } from './pod-config.ts';

/** Version of the record's shape on disk. */
const sandboxRecordVersion = 1;

/** Paths of pinned namespaces. One that is absent is the node's. */
export interface SandboxNamespaces {
  readonly net?: string;
  readonly ipc?: string;
  readonly uts?: string;
  /** What the others belong to, where the pod has one of its own. */
  readonly user?: string;
  /** Only where the pod shares one PID namespace. */
  readonly pid?: string;
}

type SandboxState =
  /** Being made, or its undoing was interrupted: no face lists it, recovery undoes it. */
  | { readonly name: 'creating' }
  /** Usable: namespaces pinned, network attached. */
  | {
      readonly name: 'ready';
      readonly ips: readonly string[];
      readonly namespaces: SandboxNamespaces;
      readonly holder?: StoredProcess;
      /** The holder's monitor. */
      readonly holderMonitor?: StoredProcess;
    }
  /** Stopped, or found dead (reboot): nothing of the kernel is held. Lists show it until it is removed. */
  | { readonly name: 'not-ready'; readonly stoppedAtMs: number }
  /** Something of it could not be undone; a further stop tries again. */
  | { readonly name: 'unknown'; readonly reason: string };

export interface Sandbox extends Versioned {
  readonly id: SandboxId;
  readonly config: PodConfig;
  readonly runtimeHandler: string;
  /** Unix time in nanoseconds, decimal. */
  readonly createdAtNs: string;
  /** The boot in which it was made: after another one nothing of the kernel is left. */
  readonly bootId: string;
  /** Absolute cgroup of the pod: the one the request named, else one of our own. */
  readonly cgroup: { readonly parent: string; readonly isOwn: boolean };
  readonly state: SandboxState;
}

/** Where the run-time state of one sandbox lies. */
export interface SandboxPaths {
  readonly directory: string;
  readonly namespaces: string;
  readonly shm: string;
  readonly hosts: string;
  readonly resolvConf: string;
  readonly hostname: string;
}

/** The same for every sandbox, so that a record of `creating` is enough to undo all that may have been made. */
export function sandboxPaths(stateDirectory: string, id: SandboxId): SandboxPaths {
  const directory = `${stateDirectory}/sandboxes/${id}`;
  return {
    directory,
    namespaces: `${directory}/ns`,
    shm: `${directory}/shm`,
    hosts: `${directory}/hosts`,
    resolvConf: `${directory}/resolv.conf`,
    hostname: `${directory}/hostname`,
  };
}

/** The name that must be unique among pods: one per metadata, as the kubelet counts attempts. */
export function sandboxName({ metadata }: PodConfig): string {
  return `${metadata.name}_${metadata.namespace}_${metadata.uid}_${metadata.attempt}`;
}

/** What happened to a sandbox, as GetContainerEvents tells it. */
interface SandboxEvent {
  readonly kind: 'created' | 'started' | 'stopped' | 'deleted';
  readonly sandbox: Sandbox;
}

export type SandboxStore = NamedStore<SandboxId, Sandbox, SandboxEvent>;

export function openSandboxStore(
  database: RecordDatabase,
  onListenerError: (error: unknown) => void,
): SandboxStore {
  return new NamedStore({
    what: 'pod sandbox',
    records: database.collection<SandboxId, Sandbox>('sandboxes', sandboxRecordVersion),
    nameOf: (sandbox) => sandboxName(sandbox.config),
    onListenerError,
  });
}
