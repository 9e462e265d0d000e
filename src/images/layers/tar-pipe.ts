import { readSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { waitReadable } from '../../linux/wait-readable.ts';

const bufferBytes = 1024 ** 2;
/** How long a thread is deaf for its messages while nothing comes. */
const patienceMs = 100;

/**
 * What comes out of a pipe, up to its end. Each chunk is good until the next is asked for: all of a layer passes one buffer, where
 * chunks of their own would have the collector mark the whole heap again and again. The thread blocks while it waits, but for its messages
 * every now and then: nothing ends a thread that blocks for ever.
 */
export async function* readPipe(fd: number, signal: AbortSignal): AsyncGenerator<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(bufferBytes);
  for (;;) {
    if (!waitReadable(fd, patienceMs)) {
      await nextTurn();
      signal.throwIfAborted();
      continue;
    }
    const length = readSync(fd, buffer);
    if (length === 0) return;
    yield buffer.subarray(0, length);
  }
}
