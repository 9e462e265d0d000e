/** Pods of one container as the kubelet asks for them, and their life step by step. */
import { readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { decode, prepare, type PreparedCall } from './cri.ts';
import type { Engine } from './engine.ts';

/** What each process of a container gets to itself, as the kubelet says it. */
const namespaces = { namespaceOptions: { network: 'POD', pid: 'CONTAINER', ipc: 'POD' } };
const cgroupRoot = '/sys/fs/cgroup';
const container = { linux: { securityContext: namespaces, resources: { cpuShares: '102' } } };

export interface Pod {
  readonly name: string;
  readonly sandboxId: string;
  readonly containerId: string;
}

/** How long each call took. */
export type Durations = Readonly<Record<string, number>>;

/** How many are started or removed at the same time where there are many. */
const startedAtOnce = 4;

/** Where the pods' cgroups are. The kubelet makes those of its pods, and removes them again. */
const podGroup = 'bench-pods';

let pods = 0;

/** The configuration of a pod whose name no other pod has. */
function newPod() {
  pods += 1;
  const name = `bench-${pods}`;
  return {
    metadata: { name, uid: `uid-${name}`, namespace: 'bench', attempt: 0 },
    hostname: name,
    logDirectory: `/var/log/pods/bench_${name}`,
    labels: { 'io.kubernetes.pod.name': name, 'io.kubernetes.pod.namespace': 'bench' },
    linux: { securityContext: namespaces, cgroupParent: `/${podGroup}/${name}` },
  };
}

/** Starts a pod of one container. */
export async function startPod(
  { cri }: Engine,
  { image, command }: { readonly image: string; readonly command?: readonly string[] },
): Promise<{ readonly pod: Pod; readonly durations: Durations }> {
  const sandboxConfig = newPod();
  const made = await cri.send(prepare('RunPodSandbox', { config: sandboxConfig }));
  const { podSandboxId: sandboxId } = decode<{ podSandboxId: string }>('RunPodSandbox', made);
  const config = {
    ...container,
    metadata: { name: 'main', attempt: 0 },
    image: { image },
    command: command ?? [],
    logPath: 'main/0.log',
    labels: { 'io.kubernetes.container.name': 'main' },
  };
  const created = await cri.send(
    prepare('CreateContainer', { podSandboxId: sandboxId, config, sandboxConfig }),
  );
  const { containerId } = decode<{ containerId: string }>('CreateContainer', created);
  const started = await cri.send(prepare('StartContainer', { containerId }));
  const durations = {
    RunPodSandbox: made.durationMs,
    CreateContainer: created.durationMs,
    StartContainer: started.durationMs,
  };
  return { pod: { name: sandboxConfig.metadata.name, sandboxId, containerId }, durations };
}

/** Runs `true` in the container. */
export function execTrue({ containerId }: Pod): PreparedCall {
  return prepare('ExecSync', { containerId, cmd: ['true'], timeout: '30' });
}

/** Ends a pod at once and removes all of it, as the kubelet does it. */
export async function removePod({ cri }: Engine, { name, sandboxId, containerId }: Pod): Promise<Durations> {
  const durations: Record<string, number> = {};
  const steps: readonly (readonly [string, object])[] = [
    ['StopContainer', { containerId, timeout: '0' }],
    ['RemoveContainer', { containerId }],
    ['StopPodSandbox', { podSandboxId: sandboxId }],
    ['RemovePodSandbox', { podSandboxId: sandboxId }],
  ];
  for (const [method, request] of steps)
    durations[method] = (await cri.send(prepare(method, request))).durationMs;
  removeGroups(name);
  return durations;
}

/** Starts pods until there are so many. */
export async function fill(
  engine: Engine,
  pods: Pod[],
  { count, image }: { readonly count: number; readonly image: string },
): Promise<void> {
  while (pods.length < count) {
    const wanted = Math.min(startedAtOnce, count - pods.length);
    const started = await Promise.all(
      Array.from({ length: wanted }, async () => await startPod(engine, { image })),
    );
    pods.push(...started.map(({ pod }) => pod));
  }
}

/** Removes them all. */
export async function empty(engine: Engine, pods: readonly Pod[]): Promise<void> {
  for (let at = 0; at < pods.length; at += startedAtOnce)
    await Promise.all(pods.slice(at, at + startedAtOnce).map(async (pod) => await removePod(engine, pod)));
}

/** In every hierarchy of cgroups that this node has. */
function removeGroups(name: string): void {
  for (const hierarchy of ['.', ...readdirSync(cgroupRoot)]) {
    try {
      rmdirSync(join(cgroupRoot, hierarchy, podGroup, name));
    } catch {
      // No hierarchy, or nothing of the pod in it.
    }
  }
}
