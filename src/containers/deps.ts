/** What the operations on containers need of the rest, in their own words. `daemon.ts` passes it. */
import type { PutBack } from '../cgroups/put-back.ts';
import type { ContainerId, ImageId } from '../lib/ids.ts';
import type { CheckpointArgs } from '../oci/checkpoint.ts';
import type { MonitoredContainer } from '../oci/monitor.ts';
import type { Spec } from '../oci/spec-types.ts';
import type { LinuxResources } from '../sandbox/pod-config.ts';
import type { Sandbox, SandboxStore } from '../sandbox/sandbox.ts';
import type { ContainerConfig } from './container-config.ts';
import type { SpecMount } from './spec/spec-input.ts';
import type { RootDirectories } from './checkpoints/root-changes.ts';
import type { StandingStill } from './checkpoints/standing-still.ts';
import type { Container, ContainerPaths, ContainerStore, ContainerUser } from './container.ts';
import type { ImageConfig } from '../images/image-config.ts';
import type { MappedIds } from '../images/snapshots/snapshot-types.ts';
import type { ImageVolume } from './image-volumes.ts';

/** The image that a container is made from. */
export interface ContainerImageFacts {
  readonly id: ImageId;
  readonly config: ImageConfig;
}

export interface SpecRequest {
  readonly id: ContainerId;
  readonly sandbox: Sandbox;
  readonly config: ContainerConfig;
  readonly image: ContainerImageFacts;
  readonly rootfs: string;
  readonly cgroupsPath: string;
  readonly mounts: readonly SpecMount[];
  readonly volumes: readonly ImageVolume[];
}

/** The directories that the engine gives a container beside its root. */
export interface ContainerVolumes {
  /** Makes the image's volumes that no mount covers; on SELinux hosts labels them, and the mounts that ask for it. */
  prepare(
    request: Omit<SpecRequest, 'cgroupsPath' | 'volumes'>,
    signal: AbortSignal,
  ): Promise<readonly ImageVolume[]>;
  /** Removes the volumes of a container with what was written to them. Idempotent. */
  remove(id: ContainerId): Promise<void>;
  /** Removes the volumes of containers that nothing knows: what a lost record has left behind. */
  removeOrphans(known: ReadonlySet<string>): Promise<void>;
}

export interface ContainerDeps {
  readonly store: ContainerStore;
  readonly sandboxes: SandboxStore;
  readonly stateDirectory: string;
  readonly bootId: string;
  readonly images: {
    /** By id, id prefix, tag or digest reference. */
    resolve(reference: string): ContainerImageFacts | undefined;
    /** Makes the writable layer of a container and mounts its root filesystem. */
    prepareSnapshot(
      key: ContainerId,
      imageId: ImageId,
      ids: MappedIds | undefined,
    ): Promise<{ readonly rootfs: string }>;
    unmountSnapshot(key: ContainerId): Promise<void>;
    /** Unmounts and deletes the writable layer. Idempotent. */
    removeSnapshot(key: ContainerId): Promise<void>;
    /** What the root filesystem of a container of this image is made of. */
    rootDirectories(key: ContainerId, imageId: ImageId): RootDirectories;
    /** A tag, or else a digest reference, of an image. */
    nameOf(imageId: ImageId): string | undefined;
  };
  readonly checkpoints: Checkpoints;
  readonly mounts: {
    /** Checks and resolves what the request mounts; image volumes are mounted below `directory`. */
    resolve(
      request: {
        readonly config: ContainerConfig;
        readonly directory: string;
        readonly ids: MappedIds | undefined;
      },
      signal: AbortSignal,
    ): Promise<readonly SpecMount[]>;
    /** Binds what the runtime could not, and gives the spec that it is to have instead. */
    bind(spec: Spec, paths: ContainerPaths, handler: string): Promise<Spec>;
    /** Takes away what of that the container needs no more, once it has mounts of its own. Idempotent. */
    unbind(paths: ContainerPaths): Promise<void>;
    /** Unmounts what `resolve` and `bind` mounted. Idempotent. */
    release(paths: ContainerPaths): Promise<void>;
  };
  readonly volumes: ContainerVolumes;
  readonly spec: {
    /** Resolves the user inside the image and builds the runtime's configuration. */
    build(request: SpecRequest): Promise<{ readonly spec: Spec; readonly user: ContainerUser }>;
  };
  readonly cgroups: {
    /** A container is about to be made: gets the kernel ready for it, in the background. */
    expectContainers(): void;
    /** The OCI `cgroupsPath` of a container. */
    pathFor(sandbox: Sandbox, id: ContainerId): string;
    /** Whether the kernel killed something of the container for want of memory; undefined when its cgroup is gone. */
    wasOomKilled(cgroupsPath: string): boolean | undefined;
    /** Kills every process below the cgroup, then removes it. Idempotent. */
    destroy(cgroupsPath: string): Promise<void>;
  };
  /** What takes part in the lives of containers from outside. Without a plugin each call returns at once. */
  readonly plugins: {
    /**
     * The container and its spec as plugins want them; the record's `resources` and `cgroupsPath` may differ then.
     * @throws EngineError failed-precondition when one refuses, invalid-argument for what is not allowed to them
     */
    creating(
      draft: { readonly container: Container; readonly sandbox: Sandbox; readonly spec: Spec },
      signal: AbortSignal,
    ): Promise<{ readonly container: Container; readonly spec: Spec }>;
    /** A container that plugins may have been told of has not been created after all. */
    abandoned(container: Container): void;
    /** @throws EngineError failed-precondition when one refuses */
    starting(container: Container, signal: AbortSignal): Promise<void>;
    /** New limits, as plugins want them. @throws EngineError failed-precondition when one refuses */
    updating(container: Container, resources: LinuxResources, signal: AbortSignal): Promise<LinuxResources>;
    updated(container: Container): void;
  };
  readonly runtime: {
    /** Starts the monitor of a container, whose bundle has a directory and may have no content yet. Disposed of without a container it is gone. */
    startMonitor(
      request: {
        readonly id: ContainerId;
        readonly handler: string;
        readonly bundle: string;
        readonly name: string;
        readonly logPath?: string;
        readonly terminal: boolean;
        readonly stdin: boolean;
        readonly stdinOnce: boolean;
      },
      signal: AbortSignal,
    ): AsyncDisposable & { create(): Promise<MonitoredContainer> };
    start(container: Container): Promise<void>;
    /** Whether the program of a container runs, asked of the runtime. */
    isStarted(container: Container): Promise<boolean>;
    /** Signals the first process, only if it is still the one that the record names. No error if it is gone. */
    kill(container: Container, signal: string): Promise<void>;
    /** Deletes what the runtime and the monitor keep, and waits for the monitor that the record names. Idempotent. */
    delete(container: Container): Promise<void>;
    /** Puts all of these limits into force, or none, and gives what undoes that. */
    update(container: Container, resources: LinuxResources): Promise<PutBack>;
    reopenLog(container: Container): Promise<void>;
  };
  readonly exits: {
    /** Begins to watch for the container's end, which is then recorded and cleaned up. */
    watch(id: ContainerId, processes: MonitoredContainer): void;
    /** Settles when the end has been recorded and cleaned up; at once if the container is not watched. */
    whenEnded(id: ContainerId): Promise<void>;
    /** Forgets the container and removes its exit file. Idempotent. */
    forget(id: ContainerId): void;
  };
}

/** Saving and restoring the processes of containers, and what that needs of their images. */
export interface Checkpoints {
  /** `/var/lib/gantry/checkpoints`. */
  readonly directory: string;
  /** What containers may be restored from here. */
  readonly sources: { readonly directories: readonly string[]; readonly images: boolean };
  readonly layers: CheckpointLayers;
  readonly standingStill: StandingStill;
  /** The path of a container's cgroup in each hierarchy. */
  cgroupPath(cgroupsPath: string): string;
  /** Whether cgroup v2 is the only hierarchy. */
  readonly hasUnifiedCgroups: boolean;
  /** Why this host cannot checkpoint containers of a handler, or undefined. */
  whyNot(handler: string): Promise<string | undefined>;
  /** Stops all processes of a running container where they are. */
  pause(container: Container, signal: AbortSignal): Promise<void>;
  /** Lets them go on. Idempotent. */
  resume(container: Container): Promise<void>;
  /** Saves them as they stand. */
  save(container: Container, args: Omit<CheckpointArgs, 'id'>): Promise<void>;
  /** Makes them again from saved ones. They run then, whatever the container's own program is. */
  restore(
    container: Container,
    args: RestoreProcessesRequest,
    signal: AbortSignal,
  ): Promise<MonitoredContainer>;
}

/** What restoring asks of the images' side. */
interface CheckpointLayers {
  isCheckpoint(id: ImageId): Promise<boolean>;
  /** The unpacked layers of an image, top first. */
  directoriesOf(id: ImageId): readonly string[];
  /** Removes such layers that no container stands upon. */
  collect(): Promise<void>;
  /**
   * Makes the writable layer of a container upon an image and what else is in `tars`, bottom first, which become layers for it alone;
   * mounts its root filesystem.
   */
  prepareSnapshot(
    key: ContainerId,
    below: { readonly imageId: ImageId; readonly tars: readonly string[] },
    signal: AbortSignal,
  ): Promise<{ readonly rootfs: string }>;
}

interface RestoreProcessesRequest {
  readonly imageDirectory: string;
  readonly securityProfile: string | undefined;
}
