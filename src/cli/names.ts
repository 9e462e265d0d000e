/** What people call pods and containers: names, `POD/CONTAINER`, `NAMESPACE/POD`, or the beginning of an id. Pure. */
import type { Container, PodSandbox } from '../gen/runtime/v1/api.ts';
import { EngineError } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';
import { containerStateName, podStateName } from './states.ts';
import { shortId } from './units.ts';

export interface Target {
  readonly kind: 'pod' | 'container';
  readonly id: string;
  /** Best first: an earlier kind of name hides the later ones. */
  readonly names: readonly (readonly string[])[];
  /** Attempts of the same thing share it; the one that lives, else the newest, stands for all. */
  readonly identity: string;
  readonly isAlive: boolean;
  readonly createdAt: bigint;
  /** How a message names it. */
  readonly label: string;
}

/** Pods as targets. */
function podTargets(pods: readonly PodSandbox[]): Target[] {
  return pods.map((pod) => {
    const { name, namespace } = podName(pod);
    return {
      kind: 'pod',
      id: pod.id,
      names: [[name, `${namespace}/${name}`]],
      identity: `pod ${namespace}/${name}`,
      isAlive: podStateName(pod.state) === 'ready',
      createdAt: pod.createdAt,
      label: `pod ${shortId(pod.id)} (${namespace}/${name})`,
    };
  });
}

/** Containers as targets. The name of a pod stands for its container where there is only one. */
export function containerTargets(containers: readonly Container[], pods: readonly PodSandbox[]): Target[] {
  const podsById = new Map(pods.map((pod) => [pod.id, pod]));
  const namesInPod = new Map<string, Set<string>>();
  for (const container of containers)
    namesInPod.set(
      container.podSandboxId,
      (namesInPod.get(container.podSandboxId) ?? new Set()).add(container.metadata?.name ?? ''),
    );
  return containers.map((container) => {
    const name = container.metadata?.name ?? '';
    const pod = podName(podsById.get(container.podSandboxId));
    const isOnly = namesInPod.get(container.podSandboxId)?.size === 1;
    return {
      kind: 'container',
      id: container.id,
      names: [
        [name, `${pod.name}/${name}`, `${pod.namespace}/${pod.name}/${name}`],
        isOnly ? [pod.name, `${pod.namespace}/${pod.name}`] : [],
      ],
      identity: `container ${pod.namespace}/${pod.name}/${name}`,
      isAlive: containerStateName(container.state) === 'running',
      createdAt: container.createdAt,
      label: `container ${shortId(container.id)} (${pod.namespace}/${pod.name}/${name})`,
    };
  });
}

/** @throws EngineError not-found, or invalid-argument that lists what the text may mean */
export function findTarget(what: string, targets: readonly Target[], text: string): Target {
  const exact = targets.find(({ id }) => id === text);
  if (exact !== undefined) return exact;
  const byId = /^[0-9a-f]+$/.test(text) ? targets.filter(({ id }) => id.startsWith(text)) : [];
  const levels = [0, 1].map((level) => targets.filter(({ names }) => names[level]?.includes(text)));
  for (const matches of [...levels, byId]) {
    const found = newestOfEach(matches);
    const [first] = found;
    if (first === undefined) continue;
    if (found.length === 1) return first;
    const labels = found.map(({ label }) => label).join(', ');
    throw new EngineError('invalid-argument', `${quote(text)} may be any of ${labels}: give an id`);
  }
  throw new EngineError('not-found', `no ${what} is called ${quote(text)}, by name or id`);
}

/** A pod whose only container has its name is meant as a whole. */
export function findAnyTarget(
  pods: readonly PodSandbox[],
  containers: readonly Container[],
  text: string,
): Target {
  const targets = podTargets(pods);
  const inPods = containerTargets(containers, pods).map((target) => ({
    ...target,
    names: target.names.slice(0, 1),
  }));
  const named = newestOfEach(targets.filter(({ names }) => names[0]?.includes(text)));
  const [pod] = named;
  if (named.length === 1 && pod !== undefined) {
    const outside = inPods.filter(
      ({ id, names }) =>
        names[0]?.includes(text) && containers.find((one) => one.id === id)?.podSandboxId !== pod.id,
    );
    if (outside.length === 0) return pod;
  }
  return findTarget('pod or container', [...targets, ...inPods], text);
}

function newestOfEach(targets: readonly Target[]): Target[] {
  const newest = new Map<string, Target>();
  for (const target of targets) {
    const known = newest.get(target.identity);
    if (known === undefined || isBetter(target, known)) newest.set(target.identity, target);
  }
  return [...newest.values()];
}

function isBetter(one: Target, other: Target): boolean {
  return one.isAlive === other.isAlive ? one.createdAt > other.createdAt : one.isAlive;
}

function podName(pod: PodSandbox | undefined): { readonly name: string; readonly namespace: string } {
  return { name: pod?.metadata?.name ?? '', namespace: pod?.metadata?.namespace ?? '' };
}
