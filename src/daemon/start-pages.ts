import { messageOf } from '../lib/errors.ts';
import { unmapProgramPages } from '../linux/program-pages.ts';
import type { Log } from '../telemetry/log.ts';

/** After the first requests, which come at once where a kubelet waits. */
const startIsOverMs = 10_000;

/**
 * Unmaps, when the start is over, what it has gone through of Node's program: 45 MB, most of which is not touched again. It takes some
 * milliseconds. Where it fails the pages stay, and the log says so.
 */
export function unmapStartPages(log: Log, stack: AsyncDisposableStack): void {
  const timer = setTimeout(() => {
    try {
      unmapProgramPages();
    } catch (error) {
      log.warn({ error: messageOf(error) }, 'what the start has used of the program stays mapped');
    }
  }, startIsOverMs);
  stack.defer(() => clearTimeout(timer));
}
