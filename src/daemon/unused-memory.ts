import { releaseFreeMemory } from '../linux/allocation-arenas.ts';

const everyMs = 15_000;

/** Gives back what the allocator holds of what was freed, three megabytes after some work: by itself it does so at its upper end only. */
export function returnUnusedMemory(stack: AsyncDisposableStack): void {
  const timer = setInterval(releaseFreeMemory, everyMs);
  timer.unref();
  stack.defer(() => clearInterval(timer));
}
