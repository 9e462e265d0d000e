/** The parts of the kubelet's answers that tests read. */

interface Terminated {
  readonly exitCode: number;
  readonly signal?: number;
  readonly reason: string;
  readonly message?: string;
  readonly startedAt: string;
  readonly finishedAt: string;
}

interface ContainerStateStatus {
  readonly waiting?: { readonly reason: string; readonly message?: string };
  readonly running?: { readonly startedAt: string };
  readonly terminated?: Terminated;
}

export interface ContainerStatus {
  readonly name: string;
  readonly state: ContainerStateStatus;
  readonly lastState: ContainerStateStatus;
  readonly ready: boolean;
  readonly started?: boolean;
  readonly restartCount: number;
  readonly image: string;
  readonly imageID: string;
  readonly containerID?: string;
}

export interface Pod {
  readonly metadata: { readonly name: string; readonly namespace: string; readonly uid: string };
  readonly status: {
    readonly phase: 'Pending' | 'Running' | 'Succeeded' | 'Failed';
    readonly reason?: string;
    readonly message?: string;
    readonly podIP?: string;
    readonly hostIP?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly initContainerStatuses?: readonly ContainerStatus[];
    readonly containerStatuses?: readonly ContainerStatus[];
  };
}

/** The status of one container, init containers included. @throws Error when the pod has none of this name yet */
export function containerOf(pod: Pod, name: string): ContainerStatus {
  const { initContainerStatuses = [], containerStatuses = [] } = pod.status;
  const found = [...initContainerStatuses, ...containerStatuses].find((status) => status.name === name);
  if (found === undefined) throw new Error(`${pod.metadata.name} has no container ${name} yet`);
  return found;
}

/** Whether every container of the pod is ready. */
export function isReady(pod: Pod): boolean {
  return pod.status.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true;
}
