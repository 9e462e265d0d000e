/** What `gantry run` asks the daemon for: a pod with one container. Pure, but for the removal of its logs. */
import { rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import type {
  ContainerConfig,
  ImageSpec,
  LinuxContainerSecurityContext,
  NamespaceOption,
  PodSandbox,
  PodSandboxConfig,
} from '../gen/runtime/v1/api.ts';
import type { HostMount, PublishedPort, Variable } from './run-options.ts';

/** What the options of `gantry run` come down to. */
export interface PodOfOne {
  /** Of the pod and of its container. */
  readonly name: string;
  readonly uid: string;
  readonly image: string;
  /** Replaces the image's CMD when it is not empty. */
  readonly args: readonly string[];
  readonly ports: readonly PublishedPort[];
  readonly env: readonly Variable[];
  readonly mounts: readonly HostMount[];
  readonly hostNetwork: boolean;
  readonly stdin: boolean;
  readonly tty: boolean;
}

/** Marks the pods that this command line made; the value is the pod's uid. */
export const runLabel = 'gantry.run';

const logRoot = '/var/log/gantry';
const protocols = { tcp: 0, udp: 1, sctp: 2 } as const;
const podMode = 0;
const containerMode = 1;
const nodeMode = 2;
const privatePropagation = 0;
const runtimeDefaultProfile = 0;

// The kubelet sends such lists for every container that asks for nothing else: without them nothing is hidden.
const maskedPaths = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
];
const readonlyPaths = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

/** An image by reference or id. */
export function imageSpec(reference: string): ImageSpec {
  return {
    image: reference,
    annotations: {},
    userSpecifiedImage: reference,
    runtimeHandler: '',
    imageRef: '',
  };
}

export function podConfig(pod: PodOfOne): PodSandboxConfig {
  return {
    metadata: { name: pod.name, uid: pod.uid, namespace: 'default', attempt: 0 },
    // A host name is 63 characters at most; on the host's network it is the host's.
    hostname: pod.hostNetwork ? '' : pod.name.slice(0, 63).replace(/[.-]+$/, ''),
    logDirectory: join(logRoot, pod.name),
    dnsConfig: undefined,
    portMappings: pod.ports.map(({ hostIp, hostPort, containerPort, protocol }) => ({
      protocol: protocols[protocol],
      containerPort,
      hostPort,
      hostIp,
    })),
    labels: { [runLabel]: pod.uid },
    annotations: {},
    linux: {
      cgroupParent: '',
      securityContext: {
        namespaceOptions: namespaces(pod),
        selinuxOptions: undefined,
        runAsUser: undefined,
        runAsGroup: undefined,
        readonlyRootfs: false,
        supplementalGroups: [],
        supplementalGroupsPolicy: 0,
        privileged: false,
        seccomp: { profileType: runtimeDefaultProfile, localhostRef: '' },
        apparmor: undefined,
        seccompProfilePath: '',
      },
      sysctls: {},
      overhead: undefined,
      resources: undefined,
    },
    windows: undefined,
  };
}

export function containerConfig(pod: PodOfOne): ContainerConfig {
  return {
    metadata: { name: pod.name, attempt: 0 },
    image: imageSpec(pod.image),
    command: [],
    args: [...pod.args],
    workingDir: '',
    envs: pod.env.map(({ name, value }) => ({ key: name, value: Buffer.from(value) })),
    mounts: pod.mounts.map(({ hostPath, containerPath, readonly }) => ({
      hostPath,
      containerPath,
      readonly,
      selinuxRelabel: false,
      propagation: privatePropagation,
      uidMappings: [],
      gidMappings: [],
      recursiveReadOnly: false,
      image: undefined,
      imageSubPath: '',
    })),
    devices: [],
    labels: { [runLabel]: pod.uid },
    annotations: {},
    // A pod of the same name that was removed may have left a log.
    logPath: `${pod.uid}.log`,
    stdin: pod.stdin,
    stdinOnce: pod.stdin,
    tty: pod.tty,
    linux: { resources: undefined, securityContext: containerSecurity(pod) },
    windows: undefined,
    CDIDevices: [],
    stopSignal: 0,
  };
}

/** Removes what a pod of `gantry run` has logged; other pods' logs belong to who made the pod. */
export async function removeLogs({
  metadata,
  labels,
}: Pick<PodSandbox, 'metadata' | 'labels'>): Promise<void> {
  const uid = labels[runLabel];
  const name = metadata?.name ?? '';
  if (uid === undefined || uid !== metadata?.uid || !isPlainName(uid) || !isPlainName(name)) return;
  const directory = join(logRoot, name);
  await rm(join(directory, `${uid}.log`), { force: true });
  // Another pod of this name may log here.
  await rmdir(directory).catch(() => undefined);
}

/** Names become files: letters, digits, `.` and `-`, none of the latter two at the ends. */
export function isPlainName(text: string): boolean {
  return /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/.test(text);
}

function namespaces({ hostNetwork }: PodOfOne): NamespaceOption {
  return {
    network: hostNetwork ? nodeMode : podMode,
    pid: containerMode,
    ipc: podMode,
    targetId: '',
    usernsOptions: undefined,
  };
}

function containerSecurity(pod: PodOfOne): LinuxContainerSecurityContext {
  return {
    capabilities: undefined,
    privileged: false,
    namespaceOptions: namespaces(pod),
    selinuxOptions: undefined,
    runAsUser: undefined,
    runAsGroup: undefined,
    runAsUsername: '',
    readonlyRootfs: false,
    supplementalGroups: [],
    supplementalGroupsPolicy: 0,
    noNewPrivs: false,
    maskedPaths,
    readonlyPaths,
    seccomp: { profileType: runtimeDefaultProfile, localhostRef: '' },
    apparmor: undefined,
    apparmorProfile: '',
    seccompProfilePath: '',
  };
}
