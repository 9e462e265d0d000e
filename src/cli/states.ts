/** The CRI's numbers for states as words. */
import type { Container, PodSandbox } from '../gen/runtime/v1/api.ts';

const podStates = ['ready', 'not-ready'] as const;
const containerStates = ['created', 'running', 'exited', 'unknown'] as const;

export type PodStateName = (typeof podStates)[number];
export type ContainerStateName = (typeof containerStates)[number];

export function podStateName(state: PodSandbox['state']): PodStateName {
  return podStates[state] ?? 'not-ready';
}

export function containerStateName(state: Container['state']): ContainerStateName {
  return containerStates[state] ?? 'unknown';
}
