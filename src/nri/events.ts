/** The events of pods and containers that a plugin may subscribe to: how they are called, and their numbers on the wire. */
import type { PluginMethod } from './connection.ts';

export const eventNumbers = {
  runPodSandbox: 1,
  stopPodSandbox: 2,
  removePodSandbox: 3,
  createContainer: 4,
  postCreateContainer: 5,
  startContainer: 6,
  postStartContainer: 7,
  updateContainer: 8,
  postUpdateContainer: 9,
  stopContainer: 10,
  removeContainer: 11,
  updatePodSandbox: 12,
  postUpdatePodSandbox: 13,
  validateContainerAdjustment: 14,
} as const satisfies Partial<Record<PluginMethod, number>>;

export type PluginEvent = keyof typeof eventNumbers;

const allEvents = (1 << Object.keys(eventNumbers).length) - 1;

/**
 * The subscription that a plugin answers Configure with; undefined for one with events that do not exist. None means all, but for
 * validation: who does not mean to validate must not be waited for.
 */
export function subscriptionOf(mask: number): number | undefined {
  if ((mask & ~allEvents) !== 0) return undefined;
  return mask === 0 ? allEvents & ~bitOf('validateContainerAdjustment') : mask;
}

function bitOf(event: PluginEvent): number {
  return 1 << (eventNumbers[event] - 1);
}

export function isSubscribed(subscription: number, event: PluginEvent): boolean {
  return (subscription & bitOf(event)) !== 0;
}
