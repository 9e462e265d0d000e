/** The few calls that every end-to-end test of pods makes through the gRPC client. */
import { readFileSync } from 'node:fs';
import type { CriClient } from './cri-client.ts';
import { podSpec, type PodSpec } from './pods.ts';
import { eventually } from './wait.ts';
import type { ContainerState, ContainerStatus } from './wire.ts';

export interface StartedPod {
  readonly id: string;
  /** As RunPodSandbox was given it: CreateContainer wants the same. */
  readonly config: PodSpec;
}

export async function runPod(
  cri: CriClient,
  name: string,
  more: Readonly<Record<string, unknown>> = {},
): Promise<StartedPod> {
  const config = podSpec(name, more);
  const { podSandboxId: id } = await cri.call<{ podSandboxId: string }>('RunPodSandbox', { config });
  return { id, config };
}

/** CreateContainer; gives its id. */
export async function createIn(cri: CriClient, pod: StartedPod, config: PodSpec): Promise<string> {
  const { containerId } = await cri.call<{ containerId: string }>('CreateContainer', {
    podSandboxId: pod.id,
    config,
    sandboxConfig: pod.config,
  });
  return containerId;
}

/** CreateContainer and StartContainer. */
export async function startIn(cri: CriClient, pod: StartedPod, config: PodSpec): Promise<string> {
  const containerId = await createIn(cri, pod, config);
  await cri.call('StartContainer', { containerId });
  return containerId;
}

export async function statusOf(cri: CriClient, containerId: string): Promise<ContainerStatus> {
  return (await cri.call<{ status: ContainerStatus }>('ContainerStatus', { containerId })).status;
}

/** Waits until the container has this state. */
export async function untilState(
  cri: CriClient,
  containerId: string,
  state: ContainerState,
): Promise<ContainerStatus> {
  return await eventually(`${state} of ${containerId}`, async () => {
    const status = await statusOf(cri, containerId);
    return status.state === state ? status : undefined;
  });
}

/** The first process of a container, as the verbose status tells it. */
export async function pidOf(cri: CriClient, containerId: string): Promise<number> {
  const { info } = await cri.call<{ info: { info: string } }>('ContainerStatus', {
    containerId,
    verbose: true,
  });
  return (JSON.parse(info.info) as { pid: number }).pid;
}

export interface ExecResult {
  readonly stdout: string;
  readonly exitCode: number;
}

/** Waits until this file is there in a container: how a process says that it has come so far. */
export async function untilFile(cri: CriClient, containerId: string, path: string): Promise<void> {
  await eventually(`${path} in ${containerId}`, async () =>
    (await exec(cri, containerId, 'test', '-e', path)).exitCode === 0 ? true : undefined,
  );
}

export async function exec(
  cri: CriClient,
  containerId: string,
  ...cmd: readonly string[]
): Promise<ExecResult> {
  const { stdout, exitCode } = await cri.call<{ stdout: Buffer; exitCode: number }>('ExecSync', {
    containerId,
    cmd,
    timeout: 30,
  });
  return { stdout: stdout.toString().trim(), exitCode };
}

export interface Listed {
  readonly id: string;
  readonly state: string;
}

export async function listPods(cri: CriClient): Promise<readonly Listed[]> {
  return (await cri.call<{ items: readonly Listed[] }>('ListPodSandbox')).items;
}

export async function listContainers(cri: CriClient): Promise<readonly Listed[]> {
  return (await cri.call<{ containers: readonly Listed[] }>('ListContainers')).containers;
}

/** StopPodSandbox and RemovePodSandbox. */
export async function removePod(cri: CriClient, podSandboxId: string): Promise<void> {
  await cri.call('StopPodSandbox', { podSandboxId });
  await cri.call('RemovePodSandbox', { podSandboxId });
}

/** Removes every pod that is listed, with its containers. */
export async function removeAllPods(cri: CriClient): Promise<void> {
  for (const { id } of await listPods(cri)) await removePod(cri, id);
}

export async function pull(cri: CriClient, image: string): Promise<string> {
  return (await cri.call<{ imageRef: string }>('PullImage', { image: { image } })).imageRef;
}

/** What a container wrote to standard output, from its log file in the CRI's format. */
export function logOf(path: string): readonly string[] {
  return readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => line.split(' ').slice(3).join(' '));
}
